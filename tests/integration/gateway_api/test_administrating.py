"""What administrators do and see in the API: accounts, the audit log, jobs that were given up."""

from __future__ import annotations

from sqlalchemy import update

from shared.catalogue.tables import Outbox
from tests.integration.gateway_api.callers import EVERYTHING, Client, audited, token_of
from tests.support.gateway import TestGateway


async def test_the_audit_says_from_which_address_a_person_asked(gateway: TestGateway) -> None:
    """What came by a request has its address; what the operator's command or the start did has none."""
    entries = (await Client(gateway, "root")("GET", "audit?limit=200")).json()["items"]
    assert {entry["source"] for entry in entries if entry["action"] == "grant.set"} == {"192.0.2.1"}
    assert {entry["source"] for entry in entries if entry["action"] == "account.create"} == {None}


# --- accounts ---------------------------------------------------------------------------------------------------------


async def test_a_disabled_account_is_locked_out_with_its_tokens(gateway: TestGateway) -> None:
    """Its password and tokens are useless at once, its name stays taken; the default index's owner stays."""
    _, client = await token_of(gateway, "bob", EVERYTHING)
    root = Client(gateway, "root")
    for _ in range(2):
        assert (await root("DELETE", "accounts/bob")).status_code == 204
    assert (await client("GET", "account")).status_code == 401
    assert (await Client(gateway, "bob")("GET", "account")).status_code == 401
    assert (await root("POST", "accounts", json={"name": "bob"})).status_code == 409
    assert (await root("DELETE", "accounts/root")).status_code == 409
    assert (await root("DELETE", "accounts/nobody")).status_code == 404
    assert (await audited(gateway)).count(("root", "account.disable", "bob")) == 1


# --- operations -------------------------------------------------------------------------------------------------------


async def test_a_job_that_was_given_up_is_run_again(gateway: TestGateway) -> None:
    """It moves from the dead to the open ones; a job that was not given up is 404."""
    root = Client(gateway, "root")
    jobs = (await root("GET", "jobs")).json()["items"]
    async with gateway.resources.engine.begin() as connection:
        dead = update(Outbox).where(Outbox.id == jobs[0]["id"])
        await connection.execute(dead.values(dead_at=gateway.clock.now(), attempts=9, last_error="it failed"))
    (given_up,) = (await root("GET", "jobs?state=dead")).json()["items"]
    assert (given_up["id"], given_up["last_error"], given_up["state"]) == (jobs[0]["id"], "it failed", "dead")
    again = await root("POST", f"jobs/{given_up['id']}/retry")
    assert (again.json()["state"], again.json()["attempts"]) == ("open", 0)
    assert (await root("POST", f"jobs/{given_up['id']}/retry")).status_code == 404
    assert (await root("GET", "jobs?state=dead")).json()["items"] == []
