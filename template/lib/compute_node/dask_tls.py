"""What schedulers and workers of Dask load (preload): a connection that breaks takes no other one with it.

Python 3.13 leaves the error of one in OpenSSL's queue, and reads it again as that of the next connection of the thread:
https://github.com/python/cpython/issues/148594
"""

import contextlib
import ssl

from tornado.iostream import SSLIOStream

CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def close(stream, *words, **options):
    """Close a stream of Tornado's, as it does after each error, and leave OpenSSL's queue empty."""
    # Python empties it before it says that there is no such cipher
    with contextlib.suppress(ssl.SSLError):
        CONTEXT.set_ciphers("none")
    return close_before(stream, *words, **options)


# Dask loads this more than once
if SSLIOStream.close.__module__ != __name__:
    close_before = SSLIOStream.close
    SSLIOStream.close = close
