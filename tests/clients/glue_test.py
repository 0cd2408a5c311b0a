#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boto3 and the AWS command line, unmodified, against the Data Catalog of Glue: what a crawler, Athena, Iceberg and
Terraform ask of it, and what is left after kill -9.

    tests/clients/glue_test.py --program build/headrace
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import boto3
import botocore.config

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import headrace  # noqa: E402
import tap  # noqa: E402

AWS = os.path.join(os.path.dirname(sys.executable), "aws")
ACCOUNT = headrace.ACCOUNT
ROOT = {"aws_access_key_id": headrace.KEY_ID, "aws_secret_access_key": headrace.SECRET}
TABLE = {"DatabaseName": "shop", "TableName": "sales"}
COLUMNS = [{"Name": "id", "Type": "bigint"}, {"Name": "what", "Type": "struct<name:string,price:decimal(10,2)>"}]
DAYS = 40


def client(server, service, keys=None):
    config = botocore.config.Config(retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=60,
                                    read_timeout=240)
    return boto3.client(service, region_name="us-east-1", endpoint_url=server.url, config=config, **(keys or ROOT))


def table_input(**more):
    return {"Name": "sales", "TableType": "EXTERNAL_TABLE", "Parameters": {"classification": "json"},
            "PartitionKeys": [{"Name": "day", "Type": "date"}, {"Name": "n", "Type": "int"}],
            "StorageDescriptor": {"Columns": COLUMNS, "Location": "s3://lake/sales/",
                                  "SerdeInfo": {"SerializationLibrary": "org.openx.data.jsonserde.JsonSerDe"}}, **more}


def partition(i, **more):
    day, n = f"2024-01-{1 + i % 28:02d}", str(i)
    return {"Values": [day, n], "StorageDescriptor": {"Columns": COLUMNS, "Location": f"s3://lake/sales/{day}/{n}/"},
            **more}


class Path:
    """Stages of one path: each builds on those before it."""

    def __init__(self, server):
        self.server, self.glue = server, client(server, "glue")

    def databases_and_tables_are_made_as_a_crawler_does(self):
        glue = self.glue
        glue.create_database(DatabaseInput={"Name": "Shop", "Description": "d"}, Tags={"team": "a"})
        glue.create_table(DatabaseName="shop", TableInput=table_input())
        table = glue.get_table(DatabaseName="SHOP", Name="Sales")["Table"]
        assert (table["Name"], table["DatabaseName"], table["VersionId"]) == ("sales", "shop", "0"), table
        assert table["StorageDescriptor"]["Columns"] == COLUMNS and table["CatalogId"] == ACCOUNT, table
        assert table["CreateTime"].year >= 2024 and table["Retention"] == 0, table
        try:
            glue.create_table(DatabaseName="shop", TableInput=table_input())
            raise AssertionError("a table was made twice")
        except glue.exceptions.AlreadyExistsException as error:
            assert error.response["Error"]["Message"] == "Table already exists.", error
        try:
            glue.get_table(DatabaseName="shop", Name="none")
            raise AssertionError("a table was found that there is not")
        except glue.exceptions.EntityNotFoundException as error:
            assert error.response["Message"] == "Entity Not Found", error.response  # the model's own member

    def partitions_are_found_by_expressions_over_pages_and_segments(self):
        glue = self.glue
        for at in range(0, DAYS, 20):
            done = glue.batch_create_partition(**TABLE, PartitionInputList=[partition(i) for i in range(at, at + 20)])
            assert done["Errors"] == [], done
        again = glue.batch_create_partition(**TABLE, PartitionInputList=[partition(0), partition(DAYS)])["Errors"]
        assert [e["ErrorDetail"]["ErrorCode"] for e in again] == ["AlreadyExistsException"], again
        pages = glue.get_paginator("get_partitions")
        for expression, wanted in (("n >= 38", {38, 39, 40}), ("day = '2024-01-02'", {1, 29}),
                                   ("day between '2024-01-01' and '2024-01-02' and n in (0, 1, 2)", {0, 1}),
                                   ("n < 2 or n = '40'", {0, 1, 40}), ("NOT (n > 0)", {0})):
            found = [int(p["Values"][1]) for page in pages.paginate(**TABLE, Expression=expression, PaginationConfig={
                "PageSize": 2}) for p in page["Partitions"]]
            assert set(found) == wanted and len(found) == len(wanted), (expression, found)
        parts = [int(p["Values"][1]) for number in range(4) for page in pages.paginate(
            **TABLE, Segment={"SegmentNumber": number, "TotalSegments": 4}) for p in page["Partitions"]]
        assert sorted(parts) == list(range(DAYS + 1)), parts
        some = glue.batch_get_partition(**TABLE, PartitionsToGet=[{"Values": partition(3)["Values"]},
                                                                  {"Values": ["2024-01-01", "99"]}])
        assert [p["Values"][1] for p in some["Partitions"]] == ["3"] and some["UnprocessedKeys"] == [], some

    def a_commit_that_is_stale_is_refused_as_iceberg_expects(self):
        glue = self.glue
        now = glue.get_table(DatabaseName="shop", Name="sales")["Table"]["VersionId"]
        change = {"DatabaseName": "shop", "TableInput": table_input(Description="changed"), "VersionId": now}
        glue.update_table(**change)
        try:
            glue.update_table(**change)
            raise AssertionError("a stale version was taken")
        except glue.exceptions.ConcurrentModificationException as error:
            assert error.response["Error"]["Message"] == "Update table failed due to concurrent modifications.", error
        versions = glue.get_table_versions(**TABLE)["TableVersions"]
        assert [v["VersionId"] for v in versions] == ["1", "0"], versions
        assert "Description" not in glue.get_table_version(**TABLE, VersionId="0")["TableVersion"]["Table"]

    def what_was_acknowledged_is_there_after_a_kill(self):
        self.server.kill()
        self.server.start()
        self.glue = client(self.server, "glue")
        assert self.glue.get_table(DatabaseName="shop", Name="sales")["Table"]["Description"] == "changed"
        assert self.glue.get_partition(**TABLE, PartitionValues=partition(7)["Values"])["Partition"]["Values"][1] == "7"
        assert self.glue.get_tags(ResourceArn=f"arn:aws:glue:us-east-1:{ACCOUNT}:database/shop")["Tags"] == {"team": "a"}

    def a_user_needs_the_catalog_the_database_and_the_table(self):
        iam = client(self.server, "iam")
        iam.create_user(UserName="bob")
        key = iam.create_access_key(UserName="bob")["AccessKey"]
        bob = client(self.server, "glue", {"aws_access_key_id": key["AccessKeyId"],
                                           "aws_secret_access_key": key["SecretAccessKey"]})
        arn = f"arn:aws:glue:us-east-1:{ACCOUNT}:"
        resources = [arn + "table/shop/sales", arn + "database/shop", arn + "catalog"]
        for n in range(len(resources) + 1):
            if n > 0:
                document = {"Version": "2012-10-17", "Statement": [
                    {"Effect": "Allow", "Action": "glue:GetTable", "Resource": resources[:n]}]}
                iam.put_user_policy(UserName="bob", PolicyName="p", PolicyDocument=json.dumps(document))
            try:
                bob.get_table(DatabaseName="shop", Name="Sales")
                assert n == len(resources), f"permitted with {resources[:n]}"
            except bob.exceptions.ClientError as error:
                assert error.response["Error"]["Code"] == "AccessDeniedException" and n < len(resources), (n, error)

    def terraform_reads_indexes_and_tags_and_finds_no_difference(self):
        glue = self.glue
        glue.create_partition_index(**TABLE, PartitionIndex={"IndexName": "by_day", "Keys": ["day"]})
        found = glue.get_partition_indexes(**TABLE)["PartitionIndexDescriptorList"]
        assert [(i["IndexName"], i["IndexStatus"], [k["Name"] for k in i["Keys"]]) for i in found] == [
            ("by_day", "ACTIVE", ["day"])], found
        glue.delete_partition_index(**TABLE, IndexName="by_day")
        assert glue.get_partition_indexes(**TABLE)["PartitionIndexDescriptorList"] == []
        arn = f"arn:aws:glue:us-east-1:{ACCOUNT}:database/shop"
        glue.tag_resource(ResourceArn=arn, TagsToAdd={"team": "b", "x": "y"})
        glue.untag_resource(ResourceArn=arn, TagsToRemove=["x"])
        assert glue.get_tags(ResourceArn=arn)["Tags"] == {"team": "b"}

    def planners_keep_statistics_and_hive_its_functions(self):
        glue = self.glue
        data = {"Type": "LONG", "LongColumnStatisticsData": {"MinimumValue": -5, "MaximumValue": 2 ** 62,
                                                             "NumberOfNulls": 0, "NumberOfDistinctValues": 9}}
        mine = {"ColumnName": "id", "ColumnType": "bigint", "AnalyzedTime": 1700000000, "StatisticsData": data}
        assert glue.update_column_statistics_for_table(**TABLE, ColumnStatisticsList=[mine])["Errors"] == []
        got = glue.get_column_statistics_for_table(**TABLE, ColumnNames=["id", "what"])
        assert got["ColumnStatisticsList"][0]["StatisticsData"] == data, got
        assert [e["ColumnName"] for e in got["Errors"]] == ["what"], got
        glue.create_user_defined_function(DatabaseName="shop", FunctionInput={
            "FunctionName": "Mask", "ClassName": "a.Mask", "OwnerType": "USER",
            "ResourceUris": [{"ResourceType": "JAR", "Uri": "s3://lake/mask.jar"}]})
        pages = glue.get_paginator("get_user_defined_functions").paginate(Pattern="*")
        assert [f["FunctionName"] for page in pages for f in page["UserDefinedFunctions"]] == ["mask"]
        assert [t["Name"] for t in glue.search_tables(SearchText="price")["TableList"]] == []
        assert [t["Name"] for t in glue.search_tables(SearchText="\"what\"")["TableList"]] == ["sales"]
        glue.delete_user_defined_function(DatabaseName="shop", FunctionName="mask")

    def a_serializer_registers_and_finds_its_schemas(self):
        glue = self.glue

        def record(*fields):
            return json.dumps({"type": "record", "name": "Click", "fields": list(fields)})

        page, user = {"name": "page", "type": "string"}, {"name": "user", "type": "long"}
        glue.create_registry(RegistryName="clicks")
        made = glue.create_schema(RegistryId={"RegistryName": "clicks"}, SchemaName="click", DataFormat="AVRO",
                                  Compatibility="BACKWARD_ALL", SchemaDefinition=record(page))
        schema = {"SchemaArn": made["SchemaArn"]}
        found = glue.get_schema_by_definition(SchemaId=schema, SchemaDefinition=record(page))
        assert found["SchemaVersionId"] == made["SchemaVersionId"], found
        added = glue.register_schema_version(SchemaId=schema, SchemaDefinition=record(page, {**user, "default": 0}))
        assert (added["Status"], added["VersionNumber"]) == ("AVAILABLE", 2), added
        failed = glue.register_schema_version(SchemaId=schema, SchemaDefinition=record(user))
        assert failed["Status"] == "FAILURE", failed
        latest = glue.get_schema_version(SchemaId=schema, SchemaVersionNumber={"LatestVersion": True})
        assert latest["SchemaVersionId"] == added["SchemaVersionId"], latest
        pages = glue.get_paginator("list_schema_versions").paginate(SchemaId=schema, PaginationConfig={"PageSize": 1})
        states = [v["Status"] for page in pages for v in page["Schemas"]]
        assert states == ["AVAILABLE", "AVAILABLE", "FAILURE"], states
        glue.delete_registry(RegistryId={"RegistryName": "clicks"})

    def the_command_line_does_the_same(self):
        with tempfile.TemporaryDirectory() as home:
            environment = {**os.environ, "HOME": home, "AWS_ACCESS_KEY_ID": headrace.KEY_ID,
                           "AWS_SECRET_ACCESS_KEY": headrace.SECRET, "AWS_DEFAULT_REGION": "us-east-1",
                           "AWS_PAGER": "", "AWS_ENDPOINT_URL": self.server.url}

            def aws(*words):
                run = subprocess.run([AWS, "glue", *words], env=environment, capture_output=True, text=True,
                                     stdin=subprocess.DEVNULL, timeout=240)
                assert run.returncode == 0, run.stderr
                return json.loads(run.stdout) if run.stdout.strip() else None

            assert [d["Name"] for d in aws("get-databases")["DatabaseList"]] == ["shop"]
            assert [t["Name"] for t in aws("get-tables", "--database-name", "shop")["TableList"]] == ["sales"]
            aws("update-database", "--name", "shop", "--database-input", '{"Name":"shop"}')
            aws("delete-table", "--database-name", "shop", "--name", "sales")
            assert aws("get-tables", "--database-name", "shop")["TableList"] == []
            aws("delete-database", "--name", "shop")
            assert aws("get-databases")["DatabaseList"] == []


STAGES = [function for name, function in vars(Path).items() if callable(function) and name != "__init__"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/headrace")
    options = parser.parse_args()
    report = tap.Tap()
    with headrace.Server(options.program) as server:
        path = Path(server)
        for stage in STAGES:
            report.run(stage.__name__.replace("_", " "), lambda s=stage: s(path))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
