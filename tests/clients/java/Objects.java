// SPDX-License-Identifier: Apache-2.0
// The AWS SDK for Java v2, unmodified, against S3: the synchronous client, the asynchronous one over Netty, the
// transfer manager on it, and presigned links. Prints TAP. Arguments: endpoint, trust store (for https), its password.
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider;
import software.amazon.awssdk.core.ResponseBytes;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.async.AsyncResponseTransformer;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.core.sync.ResponseTransformer;
import software.amazon.awssdk.http.TlsTrustManagersProvider;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.retries.DefaultRetryStrategy;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.*;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;
import software.amazon.awssdk.transfer.s3.S3TransferManager;
import software.amazon.awssdk.transfer.s3.model.DirectoryUpload;
import software.amazon.awssdk.transfer.s3.model.DownloadRequest;

public final class Objects {
    private static final int MIB = 1 << 20;
    private static final Duration PATIENCE = Duration.ofSeconds(240);
    private static final List<String> KEYS = List.of("plain", "a/b c+d&é.txt", "Ümläut/文字 😀", "//double//", "per%cent",
            "k".repeat(1024));

    private final S3Client sync;
    private final S3AsyncClient async, parts; // `parts` makes several requests of a large one
    private final S3TransferManager transfers;
    private final S3Presigner presigner;
    private final SSLContext tls;
    private final String bucket;
    private final ExecutorService feeders = Executors.newCachedThreadPool();

    private Objects(URI endpoint, TrustManagerFactory trust) throws Exception {
        TlsTrustManagersProvider managers = trust == null ? null : trust::getTrustManagers;
        bucket = "java-" + endpoint.getScheme();
        UrlConnectionHttpClient.Builder plain = UrlConnectionHttpClient.builder().connectionTimeout(PATIENCE)
                .socketTimeout(PATIENCE);
        tls = trust == null ? null : SSLContext.getInstance("TLS");
        if (trust != null) {
            plain.tlsTrustManagersProvider(managers);
            tls.init(null, trust.getTrustManagers(), null);
        }
        sync = S3Client.builder().endpointOverride(endpoint).region(Region.US_EAST_1).forcePathStyle(true)
                .credentialsProvider(EnvironmentVariableCredentialsProvider.create()).httpClientBuilder(plain)
                .overrideConfiguration(o -> o.retryStrategy(DefaultRetryStrategy.doNotRetry())).build();
        async = asynchronous(endpoint, managers, false);
        parts = asynchronous(endpoint, managers, true);
        transfers = S3TransferManager.builder().s3Client(parts).build();
        presigner = S3Presigner.builder().endpointOverride(endpoint).region(Region.US_EAST_1)
                .credentialsProvider(EnvironmentVariableCredentialsProvider.create())
                .serviceConfiguration(S3Configuration.builder().pathStyleAccessEnabled(true).build()).build();
    }

    private static S3AsyncClient asynchronous(URI endpoint, TlsTrustManagersProvider trust, boolean inParts) {
        NettyNioAsyncHttpClient.Builder http = NettyNioAsyncHttpClient.builder().connectionTimeout(PATIENCE)
                .tlsNegotiationTimeout(PATIENCE).connectionAcquisitionTimeout(PATIENCE).readTimeout(PATIENCE);
        if (trust != null)
            http.tlsTrustManagersProvider(trust);
        return S3AsyncClient.builder().endpointOverride(endpoint).region(Region.US_EAST_1).forcePathStyle(true)
                .credentialsProvider(EnvironmentVariableCredentialsProvider.create()).httpClientBuilder(http)
                .multipartEnabled(inParts).multipartConfiguration(c -> c.minimumPartSizeInBytes(5L * MIB).thresholdInBytes(8L * MIB))
                .build();
    }

    // ---- What the stages share

    private static void check(boolean condition, Object about) {
        if (!condition)
            throw new AssertionError(String.valueOf(about));
    }

    private static void same(Object wanted, Object got) {
        check(wanted.equals(got), "expected " + wanted + "\ngot      " + got);
    }

    private static void same(byte[] wanted, byte[] got) {
        check(Arrays.equals(wanted, got), "other bytes: " + got.length + " in place of " + wanted.length);
    }

    private static <T> T await(CompletableFuture<T> f) {
        try {
            return f.orTimeout(PATIENCE.toSeconds(), TimeUnit.SECONDS).join();
        } catch (CompletionException e) {
            throw e.getCause() instanceof RuntimeException r ? r : e;
        }
    }

    private static <E extends S3Exception> E refused(Class<E> kind, int status, String code, Supplier<?> call) {
        try {
            call.get();
        } catch (S3Exception e) {
            check(kind.isInstance(e), "expected " + kind.getSimpleName() + ", got " + e);
            same(status, e.statusCode());
            if (code != null)
                same(code, e.awsErrorDetails().errorCode());
            return kind.cast(e);
        }
        throw new AssertionError("expected " + kind.getSimpleName() + ", and the call succeeded");
    }

    private static byte[] random(int n) {
        byte[] bytes = new byte[n];
        new Random(n).nextBytes(bytes);
        return bytes;
    }

    private static String md5(byte[] bytes) {
        try {
            return '"' + HexFormat.of().formatHex(MessageDigest.getInstance("MD5").digest(bytes)) + '"';
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    private byte[] body(String key) {
        return sync.getObject(r -> r.bucket(bucket).key(key), ResponseTransformer.toBytes()).asByteArray();
    }

    private byte[] bodyLater(String key) {
        return await(async.getObject(r -> r.bucket(bucket).key(key), AsyncResponseTransformer.toBytes())).asByteArray();
    }

    // ---- Stages

    private void make() {
        sync.createBucket(r -> r.bucket(bucket));
        sync.waiter().waitUntilBucketExists(r -> r.bucket(bucket));
        check(sync.listBuckets().buckets().stream().anyMatch(b -> b.name().equals(bucket)), "not listed");
        refused(BucketAlreadyExistsException.class.getSuperclass().asSubclass(S3Exception.class), 404, null,
                () -> sync.headBucket(r -> r.bucket("no-such-bucket")));
    }

    private void names() {
        for (String key : KEYS) {
            byte[] data = key.getBytes(StandardCharsets.UTF_8);
            PutObjectResponse made = sync.putObject(r -> r.bucket(bucket).key(key).contentType("text/x").metadata(Map.of("a", "b")),
                    RequestBody.fromBytes(data));
            same(md5(data), made.eTag());
            same(data, body(key));
            same(data, bodyLater(key));
            HeadObjectResponse head = await(async.headObject(r -> r.bucket(bucket).key(key)));
            same("text/x", head.contentType());
            same(Map.of("a", "b"), head.metadata());
        }
        refused(NoSuchKeyException.class, 404, "NoSuchKey", () -> body("none"));
        refused(NoSuchKeyException.class, 404, "NoSuchKey", () -> bodyLater("none"));
    }

    private void pages() {
        List<String> found = new ArrayList<>();
        sync.listObjectsV2Paginator(r -> r.bucket(bucket).maxKeys(2)).contents().forEach(o -> found.add(o.key()));
        List<String> wanted = new ArrayList<>(KEYS);
        wanted.sort(Comparator.comparing(k -> k.getBytes(StandardCharsets.UTF_8), Arrays::compareUnsigned));
        same(wanted, found);
        List<String> later = java.util.Collections.synchronizedList(new ArrayList<>());
        await(async.listObjectsV2Paginator(r -> r.bucket(bucket).maxKeys(2)).contents().subscribe(o -> later.add(o.key())));
        same(wanted, later);
        same(List.of("a/", "Ümläut/"), sync.listObjectsV2(r -> r.bucket(bucket).delimiter("/")).commonPrefixes().stream()
                .map(CommonPrefix::prefix).filter(p -> !p.startsWith("/")).toList());
    }

    private void checksums() {
        byte[] data = random(3 * MIB + 5);
        for (ChecksumAlgorithm kind : List.of(ChecksumAlgorithm.CRC32, ChecksumAlgorithm.CRC32_C, ChecksumAlgorithm.SHA1,
                ChecksumAlgorithm.SHA256)) { // CRC64NVME needs machine code of its own
            InputStream stream = new ByteArrayInputStream(data);
            sync.putObject(r -> r.bucket(bucket).key("sum").checksumAlgorithm(kind), RequestBody.fromInputStream(stream, data.length));
            same(data, sync.getObject(r -> r.bucket(bucket).key("sum").checksumMode(ChecksumMode.ENABLED),
                    ResponseTransformer.toBytes()).asByteArray()); // which the SDK holds against the checksum
            await(async.putObject(r -> r.bucket(bucket).key("sum").checksumAlgorithm(kind), AsyncRequestBody.fromBytes(data)));
            same(data, await(async.getObject(r -> r.bucket(bucket).key("sum").checksumMode(ChecksumMode.ENABLED),
                    AsyncResponseTransformer.toBytes())).asByteArray());
        }
        refused(S3Exception.class, 400, "BadDigest", () -> sync.putObject(
                r -> r.bucket(bucket).key("bad").checksumCRC32("AAAAAA=="), RequestBody.fromBytes(data)));
        refused(NoSuchKeyException.class, 404, "NoSuchKey", () -> body("bad"));
        same(Arrays.copyOfRange(data, 5, 1048581), await(async.getObject(r -> r.bucket(bucket).key("sum").range("bytes=5-1048580"),
                AsyncResponseTransformer.toBytes())).asByteArray());
        refused(S3Exception.class, 416, "InvalidRange", () -> await(async.getObject(
                r -> r.bucket(bucket).key("sum").range("bytes=99999999-"), AsyncResponseTransformer.toBytes())));
    }

    private void conditions() {
        String etag = sync.putObject(r -> r.bucket(bucket).key("guarded").ifNoneMatch("*"), RequestBody.fromString("1")).eTag();
        refused(S3Exception.class, 412, "PreconditionFailed", () -> sync.putObject(
                r -> r.bucket(bucket).key("guarded").ifNoneMatch("*"), RequestBody.fromString("2")));
        sync.putObject(r -> r.bucket(bucket).key("guarded").ifMatch(etag), RequestBody.fromString("2"));
        refused(S3Exception.class, 412, "PreconditionFailed", () -> sync.getObject(
                r -> r.bucket(bucket).key("guarded").ifMatch(etag), ResponseTransformer.toBytes()));
        String now = sync.headObject(r -> r.bucket(bucket).key("guarded")).eTag();
        refused(S3Exception.class, 304, null, () -> sync.getObject(
                r -> r.bucket(bucket).key("guarded").ifNoneMatch(now), ResponseTransformer.toBytes()));
        refused(S3Exception.class, 412, "PreconditionFailed", () -> sync.deleteObject(r -> r.bucket(bucket).key("guarded").ifMatch(etag)));
        sync.deleteObject(r -> r.bucket(bucket).key("guarded").ifMatch(now));
    }

    private void byHand() {
        byte[] first = random(5 * MIB), last = random(77);
        byte[] all = Arrays.copyOf(first, first.length + last.length);
        System.arraycopy(last, 0, all, first.length, last.length);
        for (ChecksumType type : List.of(ChecksumType.COMPOSITE, ChecksumType.FULL_OBJECT)) {
            String upload = sync.createMultipartUpload(r -> r.bucket(bucket).key("hand").checksumType(type)
                    .checksumAlgorithm(ChecksumAlgorithm.CRC32_C)).uploadId();
            List<CompletedPart> done = new ArrayList<>();
            for (byte[] piece : List.of(first, last)) {
                int number = done.size() + 1;
                UploadPartResponse made = sync.uploadPart(r -> r.bucket(bucket).key("hand").uploadId(upload).partNumber(number)
                        .checksumAlgorithm(ChecksumAlgorithm.CRC32_C), RequestBody.fromBytes(piece));
                done.add(CompletedPart.builder().partNumber(number).eTag(made.eTag()).checksumCRC32C(made.checksumCRC32C()).build());
            }
            same(2, sync.listParts(r -> r.bucket(bucket).key("hand").uploadId(upload)).parts().size());
            CompleteMultipartUploadResponse made = sync.completeMultipartUpload(r -> r.bucket(bucket).key("hand").uploadId(upload)
                    .checksumType(type).multipartUpload(m -> m.parts(done)));
            check(made.checksumCRC32C().endsWith("-2") == (type == ChecksumType.COMPOSITE), made.checksumCRC32C());
            same(type, made.checksumType());
            same(all, bodyLater("hand"));
            HeadObjectResponse part = sync.headObject(r -> r.bucket(bucket).key("hand").partNumber(2));
            same(2, part.partsCount());
            same((long) last.length, part.contentLength());
        }
        refused(NoSuchUploadException.class, 404, "NoSuchUpload", () -> sync.abortMultipartUpload(
                r -> r.bucket(bucket).key("hand").uploadId("0123")));
    }

    private void inParts() {
        byte[] data = random(17 * MIB + 3);
        await(parts.putObject(r -> r.bucket(bucket).key("parts"), AsyncRequestBody.fromBytes(data)));
        same(data, body("parts"));
        check(sync.headObject(r -> r.bucket(bucket).key("parts")).eTag().contains("-"), "it was not sent in parts");
        same(data, await(parts.getObject(r -> r.bucket(bucket).key("parts"), AsyncResponseTransformer.toBytes())).asByteArray());
        // A length that nobody knows before the end.
        CompletableFuture<PutObjectResponse> made = parts.putObject(r -> r.bucket(bucket).key("unknown"),
                AsyncRequestBody.fromInputStream(c -> c.inputStream(new ByteArrayInputStream(data)).contentLength(null).executor(feeders)));
        await(made);
        same(data, body("unknown"));
        await(parts.copyObject(r -> r.sourceBucket(bucket).sourceKey("parts").destinationBucket(bucket).destinationKey("copied")));
        same(data, body("copied"));
    }

    private void files() throws Exception {
        Path folder = Files.createTempDirectory("objects"), again = Files.createTempDirectory("again");
        try {
            byte[] large = random(12 * MIB + 1);
            Files.createDirectories(folder.resolve("a/b"));
            Files.write(folder.resolve("large"), large);
            for (int n = 0; n < 20; n++)
                Files.writeString(folder.resolve("a/b/" + n), "file " + n);
            await(transfers.uploadFile(r -> r.source(folder.resolve("large")).putObjectRequest(p -> p.bucket(bucket).key("file")))
                    .completionFuture());
            await(transfers.downloadFile(r -> r.destination(again.resolve("one")).getObjectRequest(g -> g.bucket(bucket).key("file")))
                    .completionFuture());
            same(large, Files.readAllBytes(again.resolve("one")));
            DirectoryUpload up = transfers.uploadDirectory(r -> r.bucket(bucket).source(folder).s3Prefix("tree"));
            same(List.of(), await(up.completionFuture()).failedTransfers());
            same(List.of(), await(transfers.downloadDirectory(r -> r.bucket(bucket).destination(again.resolve("tree"))
                    .listObjectsV2RequestTransformer(l -> l.prefix("tree/"))).completionFuture()).failedTransfers());
            for (int n = 0; n < 20; n++)
                same("file " + n, Files.readString(again.resolve("tree/a/b/" + n)));
            same(large, Files.readAllBytes(again.resolve("tree/large")));
            ResponseBytes<GetObjectResponse> whole = await(transfers.download(DownloadRequest.builder()
                    .getObjectRequest(g -> g.bucket(bucket).key("tree/a/b/7")).responseTransformer(AsyncResponseTransformer
                    .<GetObjectResponse>toBytes()).build()).completionFuture()).result();
            same("file 7", whole.asUtf8String());
            await(transfers.copy(r -> r.copyObjectRequest(c -> c.sourceBucket(bucket).sourceKey("file").destinationBucket(bucket)
                    .destinationKey("file 2"))).completionFuture());
            same(large, bodyLater("file 2"));
        } finally {
            for (Path root : List.of(folder, again))
                try (var all = Files.walk(root)) {
                    all.sorted(Comparator.reverseOrder()).forEach(p -> p.toFile().delete());
                }
        }
    }

    private byte[] fetch(String method, URL url, byte[] data, int status) throws Exception {
        HttpURLConnection c = (HttpURLConnection) url.openConnection();
        if (c instanceof HttpsURLConnection s)
            s.setSSLSocketFactory(tls.getSocketFactory());
        c.setConnectTimeout((int) PATIENCE.toMillis());
        c.setReadTimeout((int) PATIENCE.toMillis());
        c.setRequestMethod(method);
        if (data != null) {
            c.setDoOutput(true);
            c.setRequestProperty("Content-Type", "text/linked");
            c.getOutputStream().write(data);
        }
        same(status, c.getResponseCode());
        return status < 400 ? c.getInputStream().readAllBytes() : c.getErrorStream().readAllBytes();
    }

    private void links() throws Exception {
        String key = "a/b c+d&é.txt";
        URL read = presigner.presignGetObject(r -> r.signatureDuration(Duration.ofMinutes(5)).getObjectRequest(
                g -> g.bucket(bucket).key(key).responseContentType("text/y"))).url();
        same(key, new String(fetch("GET", read, null, 200), StandardCharsets.UTF_8));
        fetch("GET", new URL(read.toString().replace("d%26", "e%26")), null, 403);
        URL write = presigner.presignPutObject(r -> r.signatureDuration(Duration.ofMinutes(5)).putObjectRequest(
                p -> p.bucket(bucket).key("linked").contentType("text/linked"))).url();
        fetch("PUT", write, "by link".getBytes(StandardCharsets.UTF_8), 200);
        same("by link", new String(body("linked"), StandardCharsets.UTF_8));
        same("text/linked", sync.headObject(r -> r.bucket(bucket).key("linked")).contentType());
    }

    private void versions() {
        String own = bucket + "-versions";
        sync.createBucket(r -> r.bucket(own));
        sync.putBucketVersioning(r -> r.bucket(own).versioningConfiguration(v -> v.status(BucketVersioningStatus.ENABLED)));
        String first = sync.putObject(r -> r.bucket(own).key("k").tagging("t=1&u=v w"), RequestBody.fromString("1")).versionId();
        String second = await(async.putObject(r -> r.bucket(own).key("k"), AsyncRequestBody.fromString("2"))).versionId();
        check(sync.deleteObject(r -> r.bucket(own).key("k")).deleteMarker(), "no marker");
        same("1", sync.getObjectAsBytes(r -> r.bucket(own).key("k").versionId(first)).asUtf8String());
        same(2, sync.getObjectTagging(r -> r.bucket(own).key("k").versionId(first)).tagSet().size());
        ListObjectVersionsResponse found = sync.listObjectVersions(r -> r.bucket(own));
        same(List.of(second, first), found.versions().stream().map(ObjectVersion::versionId).toList());
        List<ObjectIdentifier> all = new ArrayList<>();
        found.versions().forEach(v -> all.add(ObjectIdentifier.builder().key("k").versionId(v.versionId()).build()));
        found.deleteMarkers().forEach(m -> all.add(ObjectIdentifier.builder().key("k").versionId(m.versionId()).build()));
        same(3, sync.deleteObjects(r -> r.bucket(own).delete(d -> d.objects(all))).deleted().size());
        sync.deleteBucket(r -> r.bucket(own));
    }

    private void archived() {
        sync.putObject(r -> r.bucket(bucket).key("cold").storageClass(StorageClass.GLACIER), RequestBody.fromString("ice"));
        InvalidObjectStateException e = refused(InvalidObjectStateException.class, 403, "InvalidObjectState", () -> body("cold"));
        same(StorageClass.GLACIER, e.storageClass());
        sync.restoreObject(r -> r.bucket(bucket).key("cold").restoreRequest(q -> q.days(1).glacierJobParameters(g -> g.tier(Tier.BULK))));
        same("ongoing-request=\"true\"", sync.headObject(r -> r.bucket(bucket).key("cold")).restore());
        refused(S3Exception.class, 409, "RestoreAlreadyInProgress", () -> sync.restoreObject(
                r -> r.bucket(bucket).key("cold").restoreRequest(q -> q.days(1))));
        check(sync.listObjectsV2(r -> r.bucket(bucket).prefix("cold").optionalObjectAttributes(OptionalObjectAttributes.RESTORE_STATUS))
                .contents().get(0).restoreStatus().isRestoreInProgress(), "not listed as being restored");
    }

    private void remove() {
        List<ObjectIdentifier> all = sync.listObjectsV2Paginator(r -> r.bucket(bucket)).contents().stream()
                .map(o -> ObjectIdentifier.builder().key(o.key()).build()).toList();
        DeleteObjectsResponse gone = await(async.deleteObjects(r -> r.bucket(bucket).delete(d -> d.objects(all))));
        same(all.size(), gone.deleted().size());
        same(List.of(), gone.errors());
        sync.deleteBucket(r -> r.bucket(bucket));
        sync.waiter().waitUntilBucketNotExists(r -> r.bucket(bucket));
    }

    private void close() {
        transfers.close();
        presigner.close();
        parts.close();
        async.close();
        sync.close();
        feeders.shutdown();
    }

    // ---- Running

    private interface Stage {
        void run() throws Exception;
    }

    private static int number;
    private static int failures;

    private static void stage(String title, Stage body) {
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

    public static void main(String[] arguments) throws Exception {
        URI endpoint = URI.create(arguments[0]);
        TrustManagerFactory trust = null;
        if (endpoint.getScheme().equals("https")) {
            KeyStore store = KeyStore.getInstance(new java.io.File(arguments[1]), arguments[2].toCharArray());
            trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(store);
        }
        Objects o = new Objects(endpoint, trust);
        String label = o.bucket + ": ";
        stage(label + "a bucket is made and found", o::make);
        stage(label + "objects of any name come back with what was said of them", o::names);
        stage(label + "pages go on until the end", o::pages);
        stage(label + "checksums go out and come back, ranges are read", o::checksums);
        stage(label + "conditions guard writes and reads", o::conditions);
        stage(label + "an upload is made part by part, with both types of checksums", o::byHand);
        stage(label + "large objects and those of unknown length go in parts", o::inParts);
        stage(label + "the transfer manager moves files and folders", o::files);
        stage(label + "links are good for what they are for", o::links);
        stage(label + "versions and markers are told apart", o::versions);
        stage(label + "what is archived is restored before it is read", o::archived);
        stage(label + "everything is removed", o::remove);
        o.close();
        System.out.println("1.." + number);
        System.exit(failures > 0 ? 1 : 0);
    }
}
