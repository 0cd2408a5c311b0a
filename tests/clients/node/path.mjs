// SPDX-License-Identifier: Apache-2.0
// The AWS SDK for JavaScript v3, unmodified: the whole path of a record. Its Kinesis client speaks
// HTTP/2 for every call, by prior knowledge on http:// and by ALPN on https://. Prints TAP.
// Environment: ENDPOINT, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, for TLS NODE_EXTRA_CA_CERTS.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

// The SDK is installed below build/, not beside this file.
const require = createRequire(process.env.CLIENT_MODULES + '/');
const kinesis = require('@aws-sdk/client-kinesis');

const SHARDS = 3;
const RECORDS = 60;
const account = '000000000000';
const scheme = new URL(process.env.ENDPOINT).protocol.replace(':', '');
const name = `js-${scheme}`;
const client = new kinesis.KinesisClient({
  region: 'us-east-1',
  endpoint: process.env.ENDPOINT,
  maxAttempts: 1,
});

function call(operation, input) {
  return client.send(new kinesis[`${operation}Command`](input));
}

async function refused(kind, message, operation, input) {
  await assert.rejects(call(operation, input), (error) => {
    assert.equal(error.name, kind);
    assert.equal(error.message, message);
    return true;
  });
}

async function readFrom(iterator) {
  const found = [];
  for (;;) {
    const page = await call('GetRecords', { ShardIterator: iterator, Limit: 25 });
    found.push(...page.Records);
    if (page.Records.length === 0 && page.MillisBehindLatest === 0) return found;
    assert.notEqual(page.NextShardIterator, iterator);
    iterator = page.NextShardIterator;
  }
}

async function read(shard, kind, more = {}) {
  const input = { StreamName: name, ShardId: shard, ShardIteratorType: kind, ...more };
  return readFrom((await call('GetShardIterator', input)).ShardIterator);
}

const numbers = (records) => records.map((r) => r.SequenceNumber);
const put = new Map(); // shard -> [{ number, data }] in order

function remember(shard, number, data) {
  if (!put.has(shard)) put.set(shard, []);
  put.get(shard).push({ number, data });
}

const stages = {
  async 'a stream is created and becomes active'() {
    await call('CreateStream', { StreamName: name, ShardCount: SHARDS });
    await kinesis.waitUntilStreamExists({ client, maxWaitTime: 240, minDelay: 1, maxDelay: 1 }, { StreamName: name });
    const { StreamDescription: about } = await call('DescribeStream', { StreamName: name });
    assert.equal(about.Shards.length, SHARDS);
    assert.equal(about.StreamARN, `arn:aws:kinesis:us-east-1:${account}:stream/${name}`);
    assert.ok((await call('ListStreams', {})).StreamNames.includes(name));
  },

  async 'it speaks HTTP/2'() {
    const reply = await call('DescribeLimits', {});
    assert.equal(client.config.requestHandler.constructor.name, 'NodeHttp2Handler');
    assert.match(reply.$metadata.requestId, /^[0-9a-f-]{36}$/);
  },

  async 'records are put one by one and in batches, also at the same time'() {
    const single = Array.from({ length: RECORDS }, async (_, n) => {
      const data = Buffer.from(`single-${n}`);
      const reply = await call('PutRecord', { StreamName: name, Data: data, PartitionKey: `k${n}` });
      remember(reply.ShardId, reply.SequenceNumber, data);
    });
    await Promise.all(single);
    const entries = Array.from({ length: RECORDS }, (_, n) => ({ Data: Buffer.from(`many-${n}`), PartitionKey: `q${n}` }));
    const reply = await call('PutRecords', { StreamName: name, Records: entries });
    assert.equal(reply.FailedRecordCount, 0);
    reply.Records.forEach((r, n) => remember(r.ShardId, r.SequenceNumber, entries[n].Data));
    assert.equal(put.size, SHARDS);
    for (const list of put.values()) list.sort((a, b) => (BigInt(a.number) < BigInt(b.number) ? -1 : 1));
  },

  async 'all five iterator types read them in order'() {
    assert.equal(put.size, SHARDS);
    for (const [shard, list] of put) {
      const all = await read(shard, 'TRIM_HORIZON');
      assert.deepEqual(numbers(all), list.map((r) => r.number));
      all.forEach((r, n) => assert.ok(Buffer.from(r.Data).equals(list[n].data)));
      const middle = { StartingSequenceNumber: list[5].number };
      assert.deepEqual(numbers(await read(shard, 'AT_SEQUENCE_NUMBER', middle)), numbers(all).slice(5));
      assert.deepEqual(numbers(await read(shard, 'AFTER_SEQUENCE_NUMBER', middle)), numbers(all).slice(6));
      const hourAgo = { Timestamp: new Date(Date.now() - 3600e3) };
      assert.deepEqual(numbers(await read(shard, 'AT_TIMESTAMP', hourAgo)), numbers(all));
      assert.deepEqual(await read(shard, 'LATEST'), []);
      const times = all.map((r) => r.ApproximateArrivalTimestamp.getTime());
      assert.deepEqual(times, [...times].sort((a, b) => a - b));
      assert.ok(Math.abs(Date.now() - times.at(-1)) < 240e3);
    }
  },

  async 'a record of a mebibyte comes back whole'() {
    const data = Buffer.alloc(1 << 20, 'a');
    const key = { PartitionKey: 'big', ExplicitHashKey: '0' };
    const reply = await call('PutRecord', { StreamName: name, Data: data, ...key });
    const [record] = await read(reply.ShardId, 'AT_SEQUENCE_NUMBER', { StartingSequenceNumber: reply.SequenceNumber });
    assert.ok(Buffer.from(record.Data).equals(data));
  },

  async 'a consumer is pushed the records of every shard at the same time'() {
    const streamArn = `arn:aws:kinesis:us-east-1:${account}:stream/${name}`;
    const { Consumer } = await call('RegisterStreamConsumer', { StreamARN: streamArn, ConsumerName: 'c' });
    await Promise.all([...put].map(async ([shard, list]) => {
      const reply = await call('SubscribeToShard', {
        ConsumerARN: Consumer.ConsumerARN, ShardId: shard, StartingPosition: { Type: 'TRIM_HORIZON' },
      });
      const found = [];
      for await (const message of reply.EventStream) {
        const event = message.SubscribeToShardEvent;
        assert.match(event.ContinuationSequenceNumber, /^[0-9]{56}$/);
        found.push(...event.Records);
        if (found.length >= list.length) break;
      }
      assert.deepEqual(numbers(found).slice(0, list.length), list.map((r) => r.number));
      list.forEach((r, n) => assert.ok(Buffer.from(found[n].Data).equals(r.data)));
    }));
    await call('DeregisterStreamConsumer', { ConsumerARN: Consumer.ConsumerARN });
  },

  async 'tags and retention are kept'() {
    await call('AddTagsToStream', { StreamName: name, Tags: { env: 'test', team: 'rivers' } });
    const { Tags } = await call('ListTagsForStream', { StreamName: name });
    assert.deepEqual(Tags, [{ Key: 'env', Value: 'test' }, { Key: 'team', Value: 'rivers' }]);
    await call('IncreaseStreamRetentionPeriod', { StreamName: name, RetentionPeriodHours: 48 });
    const about = await call('DescribeStreamSummary', { StreamName: name });
    assert.equal(about.StreamDescriptionSummary.RetentionPeriodHours, 48);
  },

  async 'mistakes get the errors of AWS'() {
    await refused('ResourceNotFoundException', `Stream nothing under account ${account} not found.`, 'DescribeStream', { StreamName: 'nothing' });
    await refused('ResourceInUseException', `Stream ${name} under account ${account} already exists.`, 'CreateStream', { StreamName: name, ShardCount: 1 });
    await refused('InvalidArgumentException', 'Invalid ShardIterator.', 'GetRecords', { ShardIterator: 'AAAA' });
    await refused('ValidationException', "1 validation error detected: Value '' at 'partitionKey' failed to satisfy constraint: Member must have length greater than or equal to 1", 'PutRecord', { StreamName: name, Data: Buffer.from('x'), PartitionKey: '' });
  },

  async 'readers of a split shard are led to its children'() {
    const parent = [...put.keys()].sort()[0];
    await call('SplitShard', { StreamName: name, ShardToSplit: parent, NewStartingHashKey: '1000' });
    const { Shards: open } = await call('ListShards', { StreamName: name, ShardFilter: { Type: 'AT_LATEST' } });
    assert.equal(open.length, SHARDS + 1);
    const { ShardIterator } = await call('GetShardIterator', { StreamName: name, ShardId: parent, ShardIteratorType: 'LATEST' });
    const end = await call('GetRecords', { ShardIterator });
    assert.equal(end.NextShardIterator, undefined);
    assert.deepEqual(end.ChildShards.map((c) => c.ParentShards), [[parent], [parent]]);
    const reply = await call('PutRecord', { StreamName: name, Data: Buffer.from('x'), PartitionKey: 'k', ExplicitHashKey: '999' });
    assert.equal(reply.ShardId, end.ChildShards[0].ShardId);
    await call('MergeShards', { StreamName: name, ShardToMerge: end.ChildShards[0].ShardId, AdjacentShardToMerge: end.ChildShards[1].ShardId });
    const scaled = await call('UpdateShardCount', { StreamName: name, TargetShardCount: SHARDS * 2, ScalingType: 'UNIFORM_SCALING' });
    assert.equal(scaled.CurrentShardCount, SHARDS);
  },

  async 'the stream is deleted'() {
    await call('DeleteStream', { StreamName: name });
    await kinesis.waitUntilStreamNotExists({ client, maxWaitTime: 240, minDelay: 1, maxDelay: 1 }, { StreamName: name });
  },
};

let number = 0;
let failures = 0;
for (const [title, stage] of Object.entries(stages)) {
  number += 1;
  try {
    await stage();
    console.log(`ok ${number} - ${scheme}: ${title}`);
  } catch (error) {
    failures += 1;
    console.log(`not ok ${number} - ${scheme}: ${title}`);
    console.log(String(error.stack).replace(/^/gm, '#   '));
  }
}
client.destroy();
console.log(`1..${number}`);
// At once: the SDK keeps the connection of a subscription that was left, and so the process, for minutes.
process.exit(failures > 0 ? 1 : 0);
