// SPDX-License-Identifier: Apache-2.0
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.Plugin;
import org.opensearch.transport.Netty4Plugin;

/** OneNode HOME HTTP_PORT TRANSPORT_PORT: a node on loopback that ends when its input does. */
public class OneNode extends Node {
    private OneNode(Environment environment, Collection<Class<? extends Plugin>> plugins) {
        super(environment, plugins, false);
    }

    public static void main(String[] arguments) throws Exception {
        Settings settings = Settings.builder()
                .put("path.home", arguments[0])
                .put("http.port", arguments[1])
                .put("transport.port", arguments[2])
                .put("network.host", "127.0.0.1")
                .put("node.name", "one")
                .put("discovery.type", "single-node")
                .put("transport.type", "netty4")
                .put("http.type", "netty4")
                .put("http.max_content_length", "1mb")
                .put("cluster.routing.allocation.disk.threshold_enabled", false)
                .build();
        Environment environment = InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "one");
        try (Node node = new OneNode(environment, List.of(Netty4Plugin.class))) {
            node.start();
            System.out.println("Ready.");
            while (System.in.read() >= 0) {
                continue; // until the input ends
            }
        }
    }
}
