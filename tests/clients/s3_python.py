#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What s3fs and DuckDB do with a bucket. Runs in the environment that has them, for s3_tools_test.py.

    s3_python.py s3fs|duckdb URL BUCKET     keys are in the environment, as for the AWS CLI
"""
import glob
import os
import sys
import urllib.parse

LARGE = 12 << 20  # several parts


def with_s3fs(url, bucket):
    import s3fs
    fs = s3fs.S3FileSystem(endpoint_url=url, client_kwargs={"region_name": "us-east-1"}, default_block_size=5 << 20)
    root = f"{bucket}/s3fs"
    fs.pipe(f"{root}/a/one.txt", b"one")
    fs.pipe({f"{root}/a/b/two words.txt": b"two", f"{root}/a/ü%23#.txt": b"three"})
    assert sorted(fs.find(root)) == [f"{root}/a/b/two words.txt", f"{root}/a/one.txt", f"{root}/a/ü%23#.txt"], fs.find(root)
    assert fs.ls(f"{root}/a", detail=False) == [f"{root}/a/b", f"{root}/a/one.txt", f"{root}/a/ü%23#.txt"]
    assert fs.cat(f"{root}/a/ü%23#.txt") == b"three"
    content = os.urandom(LARGE)
    with fs.open(f"{root}/large.bin", "wb") as file:
        for at in range(0, LARGE, 1 << 20):
            file.write(content[at:at + (1 << 20)])
    assert fs.info(f"{root}/large.bin")["size"] == LARGE
    assert fs.cat_file(f"{root}/large.bin", start=7, end=1 << 20) == content[7:1 << 20]
    with fs.open(f"{root}/large.bin", "rb") as file:
        file.seek(LARGE - 1000)
        assert file.read() == content[-1000:]
    fs.mv(f"{root}/large.bin", f"{root}/moved.bin")
    assert not fs.exists(f"{root}/large.bin") and fs.cat(f"{root}/moved.bin") == content
    assert fs.glob(f"{root}/a/*.txt") == [f"{root}/a/one.txt", f"{root}/a/ü%23#.txt"]
    fs.rm(root, recursive=True)
    fs.invalidate_cache()
    assert fs.find(root) == []


def with_duckdb(url, bucket):
    import duckdb
    import duckdb_extension_httpfs
    folder = os.path.dirname(duckdb_extension_httpfs.__file__)
    extension, = glob.glob(os.path.join(folder, "extensions", "*", "httpfs.duckdb_extension"))
    db = duckdb.connect()
    db.execute(f"LOAD '{extension}'")
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    db.execute(f"""CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', REGION 'us-east-1', USE_SSL false,
                   ENDPOINT '{urllib.parse.urlsplit(url).netloc}', URL_STYLE 'path')""")
    db.execute("CREATE TABLE t AS SELECT i, i % 7 AS day, 'row ' || i AS text FROM range(300000) r(i)")
    wanted = db.execute("SELECT count(*), sum(i), max(text) FROM t").fetchone()
    root = f"s3://{bucket}/duckdb"
    db.execute(f"COPY t TO '{root}/one.parquet' (FORMAT parquet)")
    db.execute(f"COPY t TO '{root}/days' (FORMAT parquet, PARTITION_BY (day))")
    db.execute(f"COPY (SELECT * FROM t LIMIT 1000) TO '{root}/some.csv.gz' (HEADER, COMPRESSION gzip)")
    assert db.execute(f"SELECT count(*), sum(i), max(text) FROM '{root}/one.parquet'").fetchone() == wanted
    of_days = f"read_parquet('{root}/days/*/*.parquet', hive_partitioning = true)"
    assert db.execute(f"SELECT count(*), sum(i), max(text) FROM {of_days}").fetchone() == wanted
    assert db.execute(f"SELECT count(*), count(DISTINCT day) FROM {of_days} WHERE day = 3").fetchone()[1] == 1
    assert db.execute(f"SELECT count(*) FROM read_csv('{root}/some.csv.gz')").fetchone()[0] == 1000
    assert db.execute(f"SELECT count(*) FROM glob('{root}/days/**')").fetchone()[0] >= 7


if __name__ == "__main__":
    {"s3fs": with_s3fs, "duckdb": with_duckdb}[sys.argv[1]](*sys.argv[2:])
