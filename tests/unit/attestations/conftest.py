"""An instance of Sigstore of the tests' own, and the material that makes it trusted."""

from __future__ import annotations

import pytest

from countermark.core.attestations.trust_material import TrustMaterial
from tests.support.sigstore.instance import Instance
from tests.unit.attestations.judging import of


@pytest.fixture(scope="module")
def instance() -> Instance:
    """An instance whose parts no test replaces."""
    return Instance()


@pytest.fixture(scope="module")
def material(instance: Instance) -> TrustMaterial:
    """The policy, and both roots of the instance."""
    return of(instance)
