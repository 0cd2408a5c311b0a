// SPDX-License-Identifier: Apache-2.0
// The AWS SDK for Java v2, unmodified: the whole path of a record. Its Kinesis clients speak CBOR; the
// synchronous one HTTP/1.1, the asynchronous one HTTP/2, as the KCL's does, and HTTP/1.1. Prints TAP.
// Arguments: endpoint, trust store (for https), its password.
import java.math.BigInteger;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import javax.net.ssl.TrustManagerFactory;
import software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.TlsTrustManagersProvider;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.retries.DefaultRetryStrategy;
import software.amazon.awssdk.retries.api.RetryStrategy;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisClient;
import software.amazon.awssdk.services.kinesis.model.*;

public final class Path {
    private static final int SHARDS = 3;
    private static final int RECORDS = 60;
    private static final Duration PATIENCE = Duration.ofSeconds(240);
    private static final String ACCOUNT = "000000000000";

    /** A record as it was acknowledged. */
    private record Put(BigInteger number, String data, String key) {
    }

    /** The calls that the path needs, the same for both clients. */
    private interface Calls extends AutoCloseable {
        CreateStreamResponse create(CreateStreamRequest r);
        DescribeStreamResponse describe(DescribeStreamRequest r);
        DescribeStreamSummaryResponse summary(DescribeStreamSummaryRequest r);
        ListShardsResponse shards(ListShardsRequest r);
        List<PutRecordResponse> putAll(List<PutRecordRequest> r);
        PutRecordsResponse putRecords(PutRecordsRequest r);
        GetShardIteratorResponse iterator(GetShardIteratorRequest r);
        GetRecordsResponse get(GetRecordsRequest r);
        void tag(AddTagsToStreamRequest r);
        ListTagsForStreamResponse tags(ListTagsForStreamRequest r);
        void retain(IncreaseStreamRetentionPeriodRequest r);
        void delete(DeleteStreamRequest r);
        @Override
        void close();
    }

    private static final class Sync implements Calls {
        private final KinesisClient c;

        Sync(URI endpoint, TlsTrustManagersProvider trust) {
            UrlConnectionHttpClient.Builder http = UrlConnectionHttpClient.builder().connectionTimeout(PATIENCE)
                    .socketTimeout(PATIENCE);
            if (trust != null)
                http.tlsTrustManagersProvider(trust);
            c = KinesisClient.builder().endpointOverride(endpoint).region(Region.US_EAST_1)
                    .credentialsProvider(EnvironmentVariableCredentialsProvider.create())
                    .overrideConfiguration(o -> o.retryStrategy(DefaultRetryStrategy.doNotRetry()))
                    .httpClientBuilder(http).build();
        }

        public CreateStreamResponse create(CreateStreamRequest r) { return c.createStream(r); }
        public DescribeStreamResponse describe(DescribeStreamRequest r) { return c.describeStream(r); }
        public DescribeStreamSummaryResponse summary(DescribeStreamSummaryRequest r) { return c.describeStreamSummary(r); }
        public ListShardsResponse shards(ListShardsRequest r) { return c.listShards(r); }
        public List<PutRecordResponse> putAll(List<PutRecordRequest> r) { return r.stream().map(c::putRecord).toList(); }
        public PutRecordsResponse putRecords(PutRecordsRequest r) { return c.putRecords(r); }
        public GetShardIteratorResponse iterator(GetShardIteratorRequest r) { return c.getShardIterator(r); }
        public GetRecordsResponse get(GetRecordsRequest r) { return c.getRecords(r); }
        public void tag(AddTagsToStreamRequest r) { c.addTagsToStream(r); }
        public ListTagsForStreamResponse tags(ListTagsForStreamRequest r) { return c.listTagsForStream(r); }
        public void retain(IncreaseStreamRetentionPeriodRequest r) { c.increaseStreamRetentionPeriod(r); }
        public void delete(DeleteStreamRequest r) { c.deleteStream(r); }
        public void close() { c.close(); }
    }

    private static final class Async implements Calls {
        private final KinesisAsyncClient c;

        Async(URI endpoint, TlsTrustManagersProvider trust, Protocol protocol) {
            // On a busy machine fifty handshakes at once take longer than the 5 s that it gives one.
            NettyNioAsyncHttpClient.Builder http = NettyNioAsyncHttpClient.builder().protocol(protocol)
                    .connectionTimeout(PATIENCE).tlsNegotiationTimeout(PATIENCE).connectionAcquisitionTimeout(PATIENCE)
                    .readTimeout(PATIENCE);
            if (protocol == Protocol.HTTP2) // as the KCL sets it
                http.maxConcurrency(Integer.MAX_VALUE).http2Configuration(
                        h -> h.initialWindowSize(512 * 1024).healthCheckPingPeriod(Duration.ofMinutes(1)));
            if (trust != null)
                http.tlsTrustManagersProvider(trust);
            c = KinesisAsyncClient.builder().endpointOverride(endpoint).region(Region.US_EAST_1)
                    .credentialsProvider(EnvironmentVariableCredentialsProvider.create())
                    .overrideConfiguration(o -> o.retryStrategy(onlyWhatItClosed()))
                    .httpClientBuilder(http).build();
        }

        /**
         * Nothing is tried again, but what the SDK itself closed: now and then it closes a connection after an
         * error has come over it, and gives it to the next call all the same (the server sees the client's end
         * first, between two requests).
         */
        private static RetryStrategy onlyWhatItClosed() {
            return DefaultRetryStrategy.standardStrategyBuilder().maxAttempts(2).useClientDefaults(false)
                    .retryOnException(e -> e.getMessage() != null
                            && e.getMessage().contains("The connection was closed during the request")).build();
        }

        private static <T> T await(CompletableFuture<T> f) {
            try {
                return f.join();
            } catch (CompletionException e) {
                throw e.getCause() instanceof RuntimeException r ? r : e;
            }
        }

        public CreateStreamResponse create(CreateStreamRequest r) { return await(c.createStream(r)); }
        public DescribeStreamResponse describe(DescribeStreamRequest r) { return await(c.describeStream(r)); }
        public DescribeStreamSummaryResponse summary(DescribeStreamSummaryRequest r) { return await(c.describeStreamSummary(r)); }
        public ListShardsResponse shards(ListShardsRequest r) { return await(c.listShards(r)); }
        public List<PutRecordResponse> putAll(List<PutRecordRequest> r) {
            return r.stream().map(c::putRecord).toList().stream().map(Async::await).toList(); // all at once
        }
        public PutRecordsResponse putRecords(PutRecordsRequest r) { return await(c.putRecords(r)); }
        public GetShardIteratorResponse iterator(GetShardIteratorRequest r) { return await(c.getShardIterator(r)); }
        public GetRecordsResponse get(GetRecordsRequest r) { return await(c.getRecords(r)); }
        public void tag(AddTagsToStreamRequest r) { await(c.addTagsToStream(r)); }
        public ListTagsForStreamResponse tags(ListTagsForStreamRequest r) { return await(c.listTagsForStream(r)); }
        public void retain(IncreaseStreamRetentionPeriodRequest r) { await(c.increaseStreamRetentionPeriod(r)); }
        public void delete(DeleteStreamRequest r) { await(c.deleteStream(r)); }
        public void close() { c.close(); }

        /** What a consumer is pushed of a shard from its beginning, until there are so many records. */
        List<Put> subscribe(String consumer, String shard, int wanted) {
            List<Put> found = java.util.Collections.synchronizedList(new ArrayList<>());
            CompletableFuture<Void> enough = new CompletableFuture<>();
            SubscribeToShardResponseHandler handler = SubscribeToShardResponseHandler.builder()
                    .onError(enough::completeExceptionally)
                    .subscriber(() -> new Taker(found, wanted, enough)).build();
            CompletableFuture<Void> call = c.subscribeToShard(SubscribeToShardRequest.builder().consumerARN(consumer)
                    .shardId(shard).startingPosition(p -> p.type(ShardIteratorType.TRIM_HORIZON)).build(), handler);
            await(enough.orTimeout(PATIENCE.toSeconds(), java.util.concurrent.TimeUnit.SECONDS));
            call.cancel(true);
            return found;
        }
    }

    /** Asks for one event at a time, as the KCL does, and leaves when it has enough. */
    private static final class Taker implements org.reactivestreams.Subscriber<SubscribeToShardEventStream> {
        private final List<Put> found;
        private final int wanted;
        private final CompletableFuture<Void> enough;
        private org.reactivestreams.Subscription subscription;

        Taker(List<Put> found, int wanted, CompletableFuture<Void> enough) {
            this.found = found;
            this.wanted = wanted;
            this.enough = enough;
        }

        public void onSubscribe(org.reactivestreams.Subscription s) {
            subscription = s;
            s.request(1);
        }

        public void onNext(SubscribeToShardEventStream message) {
            message.accept(SubscribeToShardResponseHandler.Visitor.builder().onSubscribeToShardEvent(event -> {
                check(event.continuationSequenceNumber() != null && !event.hasChildShards(), event);
                event.records().forEach(r -> found.add(new Put(new BigInteger(r.sequenceNumber()),
                        r.data().asUtf8String(), r.partitionKey())));
            }).build());
            if (found.size() < wanted) {
                subscription.request(1);
                return;
            }
            enough.complete(null); // first: leaving closes the connection, which may be told as an error
            subscription.cancel();
        }

        public void onError(Throwable t) { enough.completeExceptionally(t); }
        public void onComplete() { enough.completeExceptionally(new IllegalStateException("the stream ended")); }
    }

    private final Calls calls;
    private final String name;
    private final Map<String, List<Put>> put = new TreeMap<>();

    private Path(Calls calls, String name) {
        this.calls = calls;
        this.name = name;
    }

    private static void check(boolean condition, Object about) {
        if (!condition)
            throw new AssertionError(String.valueOf(about));
    }

    private static void same(Object wanted, Object got) {
        check(wanted.equals(got), "expected " + wanted + "\ngot      " + got);
    }

    private static <E extends KinesisException> void refused(Class<E> kind, String message, Supplier<?> call) {
        try {
            call.get();
        } catch (KinesisException e) {
            check(kind.isInstance(e), "expected " + kind.getSimpleName() + ", got " + e);
            same(message, e.awsErrorDetails().errorMessage());
            check(e.requestId() != null, "no request id");
            return;
        }
        throw new AssertionError("expected " + kind.getSimpleName() + ", and the call succeeded");
    }

    private static void sleep() {
        try {
            Thread.sleep(100);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private void create() {
        calls.create(CreateStreamRequest.builder().streamName(name).shardCount(SHARDS).build());
        long end = System.nanoTime() + PATIENCE.toNanos();
        while (summary().streamStatus() != StreamStatus.ACTIVE) {
            check(System.nanoTime() < end, "the stream does not become active");
            sleep();
        }
        StreamDescription about = calls.describe(DescribeStreamRequest.builder().streamName(name).build()).streamDescription();
        same("arn:aws:kinesis:us-east-1:" + ACCOUNT + ":stream/" + name, about.streamARN());
        same(SHARDS, about.shards().size());
        check(Duration.between(about.streamCreationTimestamp(), Instant.now()).abs().compareTo(PATIENCE) < 0, about);
        same(SHARDS, calls.shards(ListShardsRequest.builder().streamName(name).build()).shards().size());
    }

    private StreamDescriptionSummary summary() {
        return calls.summary(DescribeStreamSummaryRequest.builder().streamName(name).build()).streamDescriptionSummary();
    }

    private static SdkBytes bytes(String text) {
        return SdkBytes.fromUtf8String(text);
    }

    private void remember(String shard, String number, String data, String key) {
        put.computeIfAbsent(shard, s -> new ArrayList<>()).add(new Put(new BigInteger(number), data, key));
    }

    private void putRecords() {
        List<PutRecordRequest> single = IntStream.range(0, RECORDS).mapToObj(n -> PutRecordRequest.builder()
                .streamName(name).data(bytes("single-" + n)).partitionKey("ключ-" + n).build()).toList();
        List<PutRecordResponse> replies = calls.putAll(single);
        for (int n = 0; n < RECORDS; n++)
            remember(replies.get(n).shardId(), replies.get(n).sequenceNumber(), "single-" + n, "ключ-" + n);

        List<PutRecordsRequestEntry> entries = IntStream.range(0, RECORDS).mapToObj(n -> PutRecordsRequestEntry.builder()
                .data(bytes("many-" + n)).partitionKey("q" + n).build()).toList();
        PutRecordsResponse reply = calls.putRecords(PutRecordsRequest.builder().streamName(name).records(entries).build());
        same(0, reply.failedRecordCount());
        for (int n = 0; n < RECORDS; n++)
            remember(reply.records().get(n).shardId(), reply.records().get(n).sequenceNumber(), "many-" + n, "q" + n);
        same(SHARDS, put.size());
        put.values().forEach(list -> list.sort(Comparator.comparing(Put::number)));
    }

    private List<Put> read(String shard, ShardIteratorType type, Consumer<GetShardIteratorRequest.Builder> more) {
        GetShardIteratorRequest.Builder request = GetShardIteratorRequest.builder().streamName(name).shardId(shard)
                .shardIteratorType(type);
        more.accept(request);
        String iterator = calls.iterator(request.build()).shardIterator();
        List<Put> found = new ArrayList<>();
        Instant last = Instant.EPOCH;
        while (true) {
            GetRecordsResponse page = calls.get(GetRecordsRequest.builder().shardIterator(iterator).limit(25).build());
            for (software.amazon.awssdk.services.kinesis.model.Record r : page.records()) {
                found.add(new Put(new BigInteger(r.sequenceNumber()), r.data().asUtf8String(), r.partitionKey()));
                check(!r.approximateArrivalTimestamp().isBefore(last), "arrival times go back");
                last = r.approximateArrivalTimestamp();
            }
            if (page.records().isEmpty() && page.millisBehindLatest() == 0) {
                check(found.isEmpty() || Duration.between(last, Instant.now()).abs().compareTo(PATIENCE) < 0, last);
                return found;
            }
            check(!page.nextShardIterator().equals(iterator), "an iterator came back as it was sent");
            iterator = page.nextShardIterator();
        }
    }

    private void readAllFiveWays() {
        same(SHARDS, put.size());
        put.forEach((shard, list) -> {
            String fifth = list.get(5).number().toString();
            same(list, read(shard, ShardIteratorType.TRIM_HORIZON, r -> { }));
            same(list.subList(5, list.size()), read(shard, ShardIteratorType.AT_SEQUENCE_NUMBER, r -> r.startingSequenceNumber(fifth)));
            same(list.subList(6, list.size()), read(shard, ShardIteratorType.AFTER_SEQUENCE_NUMBER, r -> r.startingSequenceNumber(fifth)));
            same(list, read(shard, ShardIteratorType.AT_TIMESTAMP, r -> r.timestamp(Instant.now().minusSeconds(3600))));
            same(List.of(), read(shard, ShardIteratorType.LATEST, r -> { }));
        });
    }

    private void bigRecord() {
        String data = "a".repeat(1 << 20);
        PutRecordResponse reply = calls.putAll(List.of(PutRecordRequest.builder().streamName(name).partitionKey("p")
                .explicitHashKey("0").data(SdkBytes.fromString(data, StandardCharsets.US_ASCII)).build())).get(0);
        List<Put> found = read(reply.shardId(), ShardIteratorType.AT_SEQUENCE_NUMBER, r -> r.startingSequenceNumber(reply.sequenceNumber()));
        check(found.size() == 1 && found.get(0).data().equals(data), "it came back changed");
    }

    private void fanOut(Async client) {
        String consumer = Async.await(client.c.registerStreamConsumer(r -> r.consumerName("c")
                .streamARN("arn:aws:kinesis:us-east-1:" + ACCOUNT + ":stream/" + name))).consumer().consumerARN();
        same(ConsumerStatus.ACTIVE, Async.await(client.c.describeStreamConsumer(r -> r.consumerARN(consumer)))
                .consumerDescription().consumerStatus());
        put.forEach((shard, list) -> {
            List<Put> found = client.subscribe(consumer, shard, list.size());
            same(list, found.subList(0, list.size()));
        });
        // Within five seconds of the one before, which is then taken over: so it may need another try.
        long end = System.nanoTime() + PATIENCE.toNanos();
        try {
            while (System.nanoTime() < end) {
                client.subscribe(consumer, put.keySet().iterator().next(), 1);
            }
            throw new AssertionError("a second subscription is always taken");
        } catch (ResourceInUseException e) {
            check(e.awsErrorDetails().errorMessage().startsWith("Another active subscription exists"), e);
        }
        Async.await(client.c.deregisterStreamConsumer(r -> r.consumerARN(consumer)));
    }

    private void tagsAndRetention() {
        calls.tag(AddTagsToStreamRequest.builder().streamName(name).tags(Map.of("env", "test", "team", "rivers")).build());
        List<Tag> tags = calls.tags(ListTagsForStreamRequest.builder().streamName(name).build()).tags();
        same(List.of("env", "team"), tags.stream().map(Tag::key).toList());
        calls.retain(IncreaseStreamRetentionPeriodRequest.builder().streamName(name).retentionPeriodHours(48).build());
        same(48, summary().retentionPeriodHours());
    }

    private void mistakes() {
        refused(ResourceNotFoundException.class, "Stream nothing under account " + ACCOUNT + " not found.",
                () -> calls.describe(DescribeStreamRequest.builder().streamName("nothing").build()));
        refused(ResourceInUseException.class, "Stream " + name + " under account " + ACCOUNT + " already exists.",
                () -> calls.create(CreateStreamRequest.builder().streamName(name).shardCount(1).build()));
        refused(InvalidArgumentException.class, "Invalid ShardIterator.",
                () -> calls.get(GetRecordsRequest.builder().shardIterator("AAAA").build()));
    }

    private void delete() {
        calls.delete(DeleteStreamRequest.builder().streamName(name).build());
        long end = System.nanoTime() + PATIENCE.toNanos();
        try {
            while (System.nanoTime() < end) {
                summary();
                sleep();
            }
        } catch (ResourceNotFoundException e) {
            return;
        }
        throw new AssertionError("the stream does not go away");
    }

    private static int number;
    private static int failures;

    private static void stage(String title, Runnable body) {
        try {
            body.run();
            System.out.println("ok " + ++number + " - " + title);
        } catch (Throwable e) {
            failures++;
            System.out.println("not ok " + ++number + " - " + title);
            String text = e.toString();
            System.out.println("#   " + text.substring(0, Math.min(2000, text.length())).replace("\n", "\n#   "));
            for (int i = 0; i < Math.min(12, e.getStackTrace().length); i++)
                System.out.println("#     at " + e.getStackTrace()[i]);
        }
    }

    private static void walk(Calls calls, String label, String name) {
        Path path = new Path(calls, name);
        stage(label + "a stream is created and becomes active", path::create);
        stage(label + "records are put one by one and in batches", path::putRecords);
        stage(label + "all five iterator types read them in order", path::readAllFiveWays);
        stage(label + "a record of a mebibyte comes back whole", path::bigRecord);
        if (calls instanceof Async client)
            stage(label + "a consumer is pushed the records", () -> path.fanOut(client));
        stage(label + "tags and retention are kept", path::tagsAndRetention);
        stage(label + "mistakes get the errors of AWS", path::mistakes);
        stage(label + "the stream is deleted", path::delete);
        calls.close();
    }

    public static void main(String[] arguments) throws Exception {
        URI endpoint = URI.create(arguments[0]);
        TlsTrustManagersProvider trust = null;
        if (endpoint.getScheme().equals("https")) {
            KeyStore store = KeyStore.getInstance(new java.io.File(arguments[1]), arguments[2].toCharArray());
            TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            factory.init(store);
            trust = factory::getTrustManagers;
        }
        String scheme = endpoint.getScheme();
        walk(new Sync(endpoint, trust), scheme + ", HTTP/1.1: ", "java-sync-" + scheme);
        walk(new Async(endpoint, trust, Protocol.HTTP2), scheme + ", HTTP/2: ", "java-async-" + scheme);
        walk(new Async(endpoint, trust, Protocol.HTTP1_1), scheme + ", asynchronous HTTP/1.1: ", "java-async-1-" + scheme);
        System.out.println("1.." + number);
        System.exit(failures > 0 ? 1 : 0);
    }
}
