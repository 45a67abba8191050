"""Drives segment-analytics-python against a running server: python.py HOST WRITE_KEY RUN"""

import sys

import segment.analytics as analytics

host, write_key, run = sys.argv[1:]
failures = []
analytics.host = host
analytics.write_key = write_key
analytics.gzip = True
analytics.on_error = lambda error, items: failures.append(error)

user = f"python-user-{run}"
analytics.track(anonymous_id=f"python-anon-{run}", event="Product Viewed", properties={"sku": "B-2"})
analytics.identify(user, {"email": f"python-{run}@example.com", "plan": "team"}, anonymous_id=f"python-anon-{run}")
analytics.track(user, "Order Completed", {"order_id": f"p-{run}", "revenue": 42})
analytics.page(user, "Docs", "Pricing", {"path": "/pricing"})
analytics.group(user, f"python-account-{run}", {"name": "Globex"})
analytics.screen(user, "Main", "Settings")
analytics.alias(f"python-old-{run}", user)
analytics.shutdown()
if failures:
    sys.exit(repr(failures))
print("sent")
