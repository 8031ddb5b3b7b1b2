"""What schedulers and workers of Dask load (preload): their pages are shown to who knows the session's secret.

Dask's own http_prefix is none: "/" and "/sitemap.json" tell it to everybody on the node.
"""

import hmac

import dask
from distributed.http.routing import RoutingApplication
from tornado.web import ErrorHandler


def find_handler(application, request, **more):
    """Return what answers a request: without the secret as its first folder, that there is no such page."""
    _, secret, *path = request.path.split("/", 2)
    if path and hmac.compare_digest(secret.encode(), dask.config.get("passerelle.secret").encode()):
        request.path = f"/{path[0]}"
        return find(application, request, **more)
    return application.get_handler_delegate(request, ErrorHandler, {"status_code": 404})


# Dask loads this more than once
if RoutingApplication.find_handler.__module__ != __name__:
    find = RoutingApplication.find_handler
    RoutingApplication.find_handler = find_handler
