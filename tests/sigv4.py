# SPDX-License-Identifier: Apache-2.0
"""AWS Signature Version 4, header form, written from its specification and without any SDK: a second
opinion on what the server verifies. Each step can be varied by the tests that must be refused."""
import hashlib
import hmac
import time
from urllib.parse import quote


def sha256_hex(data):
    return hashlib.sha256(data).hexdigest()


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signing_key(secret, date, region, service):
    key = _hmac(("AWS4" + secret).encode(), date)
    for part in (region, service, "aws4_request"):
        key = _hmac(key, part)
    return key


def canonical_query(query):
    """query: 'a=b&c' as sent, already percent-encoded."""
    pairs = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def canonical_request(method, path, query, headers, signed, payload_hash):
    lines = [method, quote(path, safe="/-_.~%"), canonical_query(query)]
    lines += [f"{name}:{' '.join(headers[name].split())}" for name in signed]
    return "\n".join(lines + ["", ";".join(signed), payload_hash])


def amz_date(seconds):
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def sign(key_id, secret, region, service, method, path, headers, body, query="", now=None,
         payload_hash=None, token=None):
    """Returns `headers` (a dict) with X-Amz-Date, Authorization and, with a token, X-Amz-Security-Token.
    Every header given is signed. `now`: seconds, for a wrong clock; payload_hash: for a wrong one."""
    headers = dict(headers)
    headers["X-Amz-Date"] = amz_date(time.time() if now is None else now)
    if token is not None:
        headers["X-Amz-Security-Token"] = token
    lower = {name.lower(): value for name, value in headers.items()}
    signed = sorted(lower)
    request = canonical_request(method, path, query, lower, signed, payload_hash or sha256_hex(body))
    date = headers["X-Amz-Date"][:8]
    scope = f"{date}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", headers["X-Amz-Date"], scope, sha256_hex(request.encode())])
    key = signing_key(secret, date, region, service)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = (f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, "
                                f"SignedHeaders={';'.join(signed)}, Signature={signature}")
    return headers
