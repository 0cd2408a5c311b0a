// SPDX-License-Identifier: Apache-2.0
// The AWS SDK for JavaScript v3, unmodified, against S3: objects, streams with trailing checksums,
// parts, pages, links and forms. Prints TAP.
// Environment: ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, for TLS NODE_EXTRA_CA_CERTS.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';

// The SDK is installed below build/, not beside this file.
const require = createRequire(process.env.CLIENT_MODULES + '/');
const s3 = require('@aws-sdk/client-s3');
const { Upload } = require('@aws-sdk/lib-storage');
const { getSignedUrl } = require('@aws-sdk/s3-request-presigner');
const { createPresignedPost } = require('@aws-sdk/s3-presigned-post');

const MIB = 1 << 20;
const KEYS = ['plain', 'a/b c+d&é.txt', 'Ümläut/文字 😀', '../up', '//double//'];
const Bucket = `js-${new URL(process.env.ENDPOINT).protocol.replace(':', '')}`;
const client = new s3.S3Client({
  region: 'us-east-1',
  endpoint: process.env.ENDPOINT,
  forcePathStyle: true,
  maxAttempts: 1,
});

function call(operation, input) {
  return client.send(new s3[`${operation}Command`]({ Bucket, ...input }));
}

async function body(Key, more = {}) {
  const got = await call('GetObject', { Key, ...more });
  return Buffer.from(await got.Body.transformToByteArray());
}

async function refused(name, operation, input) {
  await assert.rejects(call(operation, input), (error) => {
    assert.equal(error.name, name);
    return true;
  });
}

const md5 = (data) => createHash('md5').update(data).digest('hex');

const stages = {
  async 'a bucket is made and found'() {
    await call('CreateBucket', {});
    await call('HeadBucket', {});
    const found = await client.send(new s3.ListBucketsCommand({}));
    assert(found.Buckets.some((b) => b.Name === Bucket));
  },

  async 'objects of any name come back with what was said of them'() {
    for (const Key of KEYS) {
      const made = await call('PutObject', { Key, Body: Key, ContentType: 'text/x', Metadata: { a: 'b' } });
      assert.equal(made.ETag, `"${md5(Key)}"`);
    }
    for (const Key of KEYS) {
      assert.equal((await body(Key)).toString(), Key);
      const head = await call('HeadObject', { Key });
      assert.equal(head.ContentType, 'text/x');
      assert.deepEqual(head.Metadata, { a: 'b' });
    }
    await refused('NoSuchKey', 'GetObject', { Key: 'none' });
  },

  async 'pages go on until the end'() {
    const keys = [];
    for await (const page of s3.paginateListObjectsV2({ client, pageSize: 2 }, { Bucket }))
      keys.push(...page.Contents.map((o) => o.Key));
    assert.deepEqual(keys, [...KEYS].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
  },

  async 'streams are sent in chunks with a checksum behind them'() {
    const data = randomBytes(3 * MIB + 5);
    for (const ChecksumAlgorithm of ['CRC32', 'CRC32C', 'SHA1', 'SHA256']) {
      const pieces = [data.subarray(0, 7), data.subarray(7, MIB), data.subarray(MIB)];
      await call('PutObject', {
        Key: 'stream', Body: Readable.from(pieces), ContentLength: data.length, ChecksumAlgorithm,
      });
      assert((await body('stream', { ChecksumMode: 'ENABLED' })).equals(data));
    }
    assert((await body('stream', { Range: 'bytes=5-1048580' })).equals(data.subarray(5, 1048581)));
    await refused('InvalidRange', 'GetObject', { Key: 'stream', Range: 'bytes=99999999-' });
  },

  async 'an upload of unknown length comes in parts'() {
    const data = randomBytes(12 * MIB + 3);
    async function* pieces() {
      for (let at = 0; at < data.length; at += 300000) yield data.subarray(at, at + 300000);
    }
    const upload = new Upload({
      client, params: { Bucket, Key: 'parts', Body: Readable.from(pieces()) }, partSize: 5 * MIB, queueSize: 3,
    });
    await upload.done();
    const head = await call('HeadObject', { Key: 'parts', PartNumber: 1 });
    assert.equal(head.PartsCount, 3);
    assert((await body('parts')).equals(data));
  },

  async 'conditions guard writes and reads'() {
    const { ETag } = await call('PutObject', { Key: 'guarded', Body: '1', IfNoneMatch: '*' });
    await refused('PreconditionFailed', 'PutObject', { Key: 'guarded', Body: '2', IfNoneMatch: '*' });
    await call('PutObject', { Key: 'guarded', Body: '2', IfMatch: ETag });
    await refused('PreconditionFailed', 'GetObject', { Key: 'guarded', IfMatch: ETag });
  },

  async 'what is read again and again is always what was put last'() {
    for (let i = 0; i < 20; i++) {
      await call('PutObject', { Key: 'hot', Body: `value ${i}` });
      for (let j = 0; j < 3; j++) assert.equal((await body('hot')).toString(), `value ${i}`);
    }
    await call('DeleteObject', { Key: 'hot' });
    await refused('NoSuchKey', 'GetObject', { Key: 'hot' });
  },

  async 'tags and copies'() {
    await call('PutObjectTagging', { Key: 'plain', Tagging: { TagSet: [{ Key: 'k', Value: 'v w' }] } });
    await call('CopyObject', { Key: 'copied', CopySource: `${Bucket}/plain` });
    const { TagSet } = await call('GetObjectTagging', { Key: 'copied' });
    assert.deepEqual(TagSet, [{ Key: 'k', Value: 'v w' }]);
  },

  async 'links are good for what they are for'() {
    const link = await getSignedUrl(client, new s3.GetObjectCommand({ Bucket, Key: 'plain' }), { expiresIn: 60 });
    assert.equal(await (await fetch(link)).text(), 'plain');
    assert.equal((await fetch(link.replace('/plain', '/parts'))).status, 403);
    const put = await getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key: 'linked' }), { expiresIn: 60 });
    assert.equal((await fetch(put, { method: 'PUT', body: 'by link' })).status, 200);
    assert.equal((await body('linked')).toString(), 'by link');
  },

  async 'a form is taken'() {
    const { url, fields } = await createPresignedPost(client, {
      Bucket, Key: 'form/${filename}', Conditions: [['content-length-range', 1, 1000]], Expires: 60,
    });
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append('file', new Blob(['of a form']), 'x.txt');
    assert.equal((await fetch(url, { method: 'POST', body: form })).status, 204);
    assert.equal((await body('form/x.txt')).toString(), 'of a form');
  },

  async 'everything is removed at once'() {
    const { Contents } = await call('ListObjectsV2', {});
    const { Deleted } = await call('DeleteObjects', { Delete: { Objects: Contents.map(({ Key }) => ({ Key })) } });
    assert.equal(Deleted.length, Contents.length);
    await call('DeleteBucket', {});
    await assert.rejects(call('HeadBucket', {}));
  },
};

let failed = 0;
const names = Object.keys(stages);
for (const [i, name] of names.entries()) {
  try {
    await stages[name]();
    console.log(`ok ${i + 1} - ${Bucket}: ${name}`);
  } catch (error) {
    failed++;
    console.log(`not ok ${i + 1} - ${Bucket}: ${name}`);
    console.log(String(error.stack ?? error).replace(/^/gm, '# '));
  }
}
console.log(`1..${names.length}`);
client.destroy();
process.exit(failed > 0 ? 1 : 0);
