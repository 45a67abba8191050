"""Validates the server's description of its API against the OpenAPI 3.1 specification, and that what it names is served."""

import json
import sys
import urllib.error
import urllib.request

from openapi_spec_validator import OpenAPIV31SpecValidator

base = sys.argv[1]
with urllib.request.urlopen(base + "/api/openapi.json") as answer:
    description = json.load(answer)
OpenAPIV31SpecValidator(description).validate()

for path, operations in description["paths"].items():
    if "get" not in operations or path == "/api/live":
        continue
    url = base + path.replace("{part}", "traits").replace("{workspace}", "acme").replace("{collection}", "users")
    url = url.replace("{id}", "user_id:nobody").replace("{key}", "none")
    try:
        urllib.request.urlopen(url).close()
    except urllib.error.HTTPError as error:
        # A known route answers a problem; one that is not served has no body.
        assert error.headers["content-type"] == "application/problem+json" or error.code == 400, (path, error.code)
print(len(description["paths"]))
