// SPDX-License-Identifier: Apache-2.0
// The AWS SDK for JavaScript v3, unmodified, against CloudWatch: it speaks Smithy's RPC v2 CBOR.
// Prints TAP. Environment as for path.mjs.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(process.env.CLIENT_MODULES + '/');
const cloudwatch = require('@aws-sdk/client-cloudwatch');

const scheme = new URL(process.env.ENDPOINT).protocol.replace(':', '');
const space = `js-${scheme}`;
const HOUR = 3600e3;
const client = new cloudwatch.CloudWatchClient({
  region: 'us-east-1',
  endpoint: process.env.ENDPOINT,
  maxAttempts: 1,
});

function call(operation, input) {
  return client.send(new cloudwatch[`${operation}Command`](input));
}

function lastHours() {
  return { StartTime: new Date(Date.now() - HOUR), EndTime: new Date(Date.now() + HOUR) };
}

const stages = {
  async 'values are put and told'() {
    await call('PutMetricData', {
      Namespace: space,
      MetricData: [
        { MetricName: 'm', Value: 1.5, Unit: 'Count', Timestamp: new Date() },
        { MetricName: 'm', Values: [2, 4], Counts: [1, 3], Unit: 'Count' },
      ],
    });
    const { Datapoints, Label } = await call('GetMetricStatistics', {
      Namespace: space, MetricName: 'm', Period: 60, Statistics: ['Sum'], ...lastHours(),
    });
    assert.equal(Label, 'm');
    assert.equal(Datapoints.reduce((sum, p) => sum + p.Sum, 0), 15.5);
    Datapoints.forEach((p) => assert.ok(Math.abs(p.Timestamp - Date.now()) < 180e3));
  },

  async 'metrics are listed and queried'() {
    const { Metrics } = await call('ListMetrics', { Namespace: space });
    assert.deepEqual(Metrics, [{ Namespace: space, MetricName: 'm', Dimensions: [] }]);
    const m = { Metric: { Namespace: space, MetricName: 'm' }, Period: 3600, Stat: 'Maximum' };
    const { MetricDataResults } = await call('GetMetricData', {
      MetricDataQueries: [{ Id: 'm', MetricStat: m, ReturnData: false }, { Id: 'e', Expression: 'm * 2' }],
      ...lastHours(),
    });
    assert.equal(MetricDataResults.length, 1);
    assert.equal(Math.max(...MetricDataResults[0].Values), 8);
    assert.ok(MetricDataResults[0].Timestamps[0] instanceof Date);
  },

  async 'alarms have states'() {
    await call('PutMetricAlarm', {
      AlarmName: space, Namespace: space, MetricName: 'm', Statistic: 'Sum', Period: 60, EvaluationPeriods: 1,
      Threshold: 1e9, ComparisonOperator: 'GreaterThanThreshold', TreatMissingData: 'ignore',
    });
    await call('SetAlarmState', { AlarmName: space, StateValue: 'ALARM', StateReason: 'a test' });
    const { MetricAlarms } = await call('DescribeAlarms', { AlarmNames: [space] });
    assert.equal(MetricAlarms[0].StateReason, 'a test');
    assert.ok(MetricAlarms[0].StateUpdatedTimestamp instanceof Date);
    await call('DeleteAlarms', { AlarmNames: [space] });
  },

  async 'mistakes get the errors of AWS'() {
    await assert.rejects(call('PutMetricData', { Namespace: space, MetricData: [{ MetricName: 'm' }] }), (error) => {
      assert.match(error.name, /^Missing(RequiredParameterException|Parameter)$/);
      assert.match(error.message, /^At least one of the parameters MetricData\.member\.1\.Value/);
      return true;
    });
  },
};

let number = 0;
let failures = 0;
for (const [title, stage] of Object.entries(stages)) {
  number += 1;
  try {
    await stage();
    console.log(`ok ${number} - CloudWatch over ${scheme}: ${title}`);
  } catch (error) {
    failures += 1;
    console.log(`not ok ${number} - CloudWatch over ${scheme}: ${title}`);
    console.log(String(error.stack).replace(/^/gm, '#   '));
  }
}
client.destroy();
console.log(`1..${number}`);
process.exitCode = failures > 0 ? 1 : 0;
