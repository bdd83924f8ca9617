"""Whether a next root that is answered 403 is absent or withheld.

A bucket without listing rights answers 403 for whatever it does not hold, so the TUF library takes 403 for the end of
the chain of roots, as it takes 404. A store that does hold the next root and may not show it (a wrong rule, a broken
copy) would then keep its clients on old keys in silence. So a 403 is believed only where an object that no repository
has is answered 403 too; that one further request is made on a 403 alone.

Source: trust contract section 1.3, hole (e).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

_ROOT = re.compile(r"/[1-9][0-9]*\.root\.json$")
_NEVER = "/4294967295.root.json"  # nobody rotates a root so often


class NewestRoot(FetcherInterface):
    """Passes requests on; a root that is withheld fails as what could not be read instead of counting as absent.

    Args:
        inner: reads.
    """

    def __init__(self, inner: FetcherInterface) -> None:
        self._inner = inner

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield from self._inner.fetch(url)
        except DownloadHTTPError as error:
            if error.status_code == 403 and _ROOT.search(url) and self._is_withheld(url):
                raise DownloadError(
                    f"{url} is there and withheld: it is answered 403, and what is not there is not"
                ) from error
            raise

    def _is_withheld(self, url: str) -> bool:
        try:
            self._inner.download_bytes(_ROOT.sub(_NEVER, url), 1)
        except DownloadHTTPError as error:
            return error.status_code != 403
        except DownloadError:
            pass
        return True
