// SPDX-License-Identifier: Apache-2.0
// The AWS SDK for JavaScript v3, unmodified, against Data Firehose. Prints TAP. Environment as for path.mjs.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(process.env.CLIENT_MODULES + '/');
const firehose = require('@aws-sdk/client-firehose');

const scheme = new URL(process.env.ENDPOINT).protocol.replace(':', '');
const name = `js-${scheme}`;
const s3 = { RoleARN: 'arn:aws:iam::000000000000:role/delivery', BucketARN: 'arn:aws:s3:::lake' };
const client = new firehose.FirehoseClient({ region: 'us-east-1', endpoint: process.env.ENDPOINT, maxAttempts: 1 });

function call(operation, input) {
  return client.send(new firehose[`${operation}Command`]({ DeliveryStreamName: name, ...input }));
}

async function described() {
  return (await call('DescribeDeliveryStream')).DeliveryStreamDescription;
}

const stages = {
  async 'a stream is made and described'() {
    await call('CreateDeliveryStream', { ExtendedS3DestinationConfiguration: { ...s3, Prefix: 'js/' } });
    const stream = await described();
    assert.equal(stream.DeliveryStreamStatus, 'ACTIVE');
    assert.ok(stream.CreateTimestamp instanceof Date);
    assert.equal(stream.Destinations[0].ExtendedS3DestinationDescription.Prefix, 'js/');
    assert.ok((await call('ListDeliveryStreams', { Limit: 100 })).DeliveryStreamNames.includes(name));
  },

  async 'records are stored'() {
    const one = await call('PutRecord', { Record: { Data: new TextEncoder().encode('héllo') } });
    assert.equal(one.Encrypted, false);
    const many = await call('PutRecordBatch', { Records: Array.from({ length: 500 }, (_, i) => ({ Data: new Uint8Array(i) })) });
    assert.equal(many.FailedPutCount, 0);
    assert.equal(new Set([one, ...many.RequestResponses].map((r) => r.RecordId)).size, 501);
  },

  async 'tags and destination are changed'() {
    await call('TagDeliveryStream', { Tags: [{ Key: 'a', Value: '1' }] });
    assert.deepEqual((await call('ListTagsForDeliveryStream')).Tags, [{ Key: 'a', Value: '1' }]);
    await call('UntagDeliveryStream', { TagKeys: ['a'] });
    const { VersionId, Destinations } = await described();
    await call('UpdateDestination', {
      CurrentDeliveryStreamVersionId: VersionId, DestinationId: Destinations[0].DestinationId,
      ExtendedS3DestinationUpdate: { CompressionFormat: 'GZIP' },
    });
    assert.equal((await described()).Destinations[0].ExtendedS3DestinationDescription.CompressionFormat, 'GZIP');
  },

  async 'mistakes get the errors of AWS'() {
    const refused = (error) => error instanceof firehose.InvalidArgumentException;
    await assert.rejects(call('CreateDeliveryStream', { DeliveryStreamName: 'none' }), refused);
    await assert.rejects(call('DescribeDeliveryStream', { DeliveryStreamName: 'none' }),
                         (error) => error instanceof firehose.ResourceNotFoundException);
  },

  async 'it is deleted'() {
    await call('DeleteDeliveryStream');
    await assert.rejects(described());
  },
};

let number = 0;
let failures = 0;
for (const [title, stage] of Object.entries(stages)) {
  number += 1;
  try {
    await stage();
    console.log(`ok ${number} - Firehose over ${scheme}: ${title}`);
  } catch (error) {
    failures += 1;
    console.log(`not ok ${number} - Firehose over ${scheme}: ${title}`);
    console.log(String(error.stack).replace(/^/gm, '#   '));
  }
}
client.destroy();
console.log(`1..${number}`);
process.exitCode = failures > 0 ? 1 : 0;
