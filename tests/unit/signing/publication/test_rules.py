"""What a batch changes, from rows to targets and marks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from packaging.utils import NormalizedName
from tuf.api.metadata import SuccinctRoles

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, IndexName, latest_target, pointer_target
from services.signing.publication import rules
from shared.catalogue import publication_rows as rows
from shared.catalogue.publication_rows import CurrentFile, FileState, ProjectState, Request
from shared.ids import FileId, ProjectId
from shared.trust.roles import PROFILES, Role

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INDEX = IndexName("root", "stable")
WIDGET = ProjectState(ProjectId(UUID(int=1)), NormalizedName("widget"), "python", "active", None, 1)


def wheel(version: str, *, number: int, published: bool = False, **marks: object) -> FileState:
    """A wheel of the project, with marks."""
    file = FileState(
        id=FileId(UUID(int=number)),
        project_id=WIDGET.id,
        version=version,
        file_name=FileName(f"widget-{version}-py3-none-any.whl"),
        package_type="bdist_wheel",
        sha256=Sha256(f"{number:064x}"),
        length=Length(100),
        requires_python=None,
        core_metadata_sha256=None,
        uploaded_at=NOW,
        uploader="root",
        yanked=None,
        removed=False,
        held=False,
        published=published,
    )
    return replace(file, **marks)  # type: ignore[arg-type]


def test_a_new_file_joins_those_that_are_visible() -> None:
    """The page lists old and new; only the new one is shown by this batch."""
    old, new = wheel("1.0", number=1, published=True), wheel("1.1", number=2)
    plan = rules.plan_project(INDEX, 7, WIDGET, [old, new])
    assert [file.version for file in plan.page.files] == ["1.0", "1.1"]
    assert plan.page.serial == 7
    assert plan.added == (new,)
    assert plan.dropped == ()
    assert plan.unset({file.file_name for file in plan.page.files}) == ()
    assert [line.action for line in plan.journal] == ["add bdist_wheel file widget-1.1-py3-none-any.whl"]


def test_a_removed_file_leaves_the_page_and_loses_its_pointer() -> None:
    """What is marked as removed is dropped in the next batch."""
    kept, gone = wheel("1.0", number=1, published=True), wheel("1.1", number=2, published=True, removed=True)
    plan = rules.plan_project(INDEX, 8, WIDGET, [kept, gone])
    assert [file.version for file in plan.page.files] == ["1.0"]
    assert plan.dropped == (gone,)
    assert plan.unset({file.file_name for file in plan.page.files}) == (pointer_target(WIDGET.name, gone.file_name),)


def test_an_overwritten_file_keeps_its_pointer_path() -> None:
    """Remove and add of one name in one batch leave the target path in place, with new bytes."""
    gone = wheel("1.0", number=1, published=True, removed=True)
    new = wheel("1.0", number=2)
    plan = rules.plan_project(INDEX, 8, WIDGET, [gone, new])
    assert plan.unset({file.file_name for file in plan.page.files}) == ()
    assert (plan.added, plan.dropped) == ((new,), (gone,))


def test_the_last_file_takes_latest_with_it() -> None:
    """A project without files has a page document, but no pointer to a latest release."""
    gone = wheel("1.0", number=1, published=True, removed=True)
    plan = rules.plan_project(INDEX, 9, WIDGET, [gone])
    assert plan.page.files == []
    assert latest_target(WIDGET.name) in plan.unset({file.file_name for file in plan.page.files})


def test_a_held_or_removed_file_is_never_shown() -> None:
    """Marks set between the upload and its batch win."""
    plan = rules.plan_project(
        INDEX, 1, WIDGET, [wheel("1.0", number=1, held=True), wheel("1.1", number=2, removed=True)]
    )
    assert plan.added == ()
    assert plan.page.files == []


def test_bins_that_expire_first_are_signed_first_and_only_so_many() -> None:
    """The work rolls: a seventh at a time, never the whole set at once."""
    spec = PROFILES["development"].roles[Role.BINS]
    bins = {
        f"b8-{number:02x}": CurrentFile(f"b8-{number:02x}", 1, NOW + timedelta(days=number)) for number in range(14)
    }
    assert rules.bins_due(bins, spec, NOW, 3) == ["b8-00", "b8-01", "b8-02"]
    assert len(rules.bins_due(bins, spec, NOW, 100)) == 8


def test_a_day_has_its_share_of_bins_whoever_signs_them() -> None:
    """The oldest are signed until a share was signed within a day; a batch takes no more of it than it may."""
    spec = PROFILES["development"].roles[Role.BINS]

    def aged(*hours: float) -> dict[str, CurrentFile]:
        ends = [NOW + spec.lifetime - timedelta(hours=age) for age in hours]
        return {f"b8-{number:02x}": CurrentFile(f"b8-{number:02x}", 1, end) for number, end in enumerate(ends)}

    assert rules.bins_due(aged(30, 20, 60, 25), spec, NOW, 2, at_once=2) == ["b8-02"], "one was signed today already"
    assert rules.bins_due(aged(30, 40, 60, 25), spec, NOW, 3, at_once=2) == ["b8-02", "b8-01"]
    assert rules.bins_due(aged(30, 20, 23, 25), spec, NOW, 2, at_once=2) == []
    assert rules.bins_due(aged(23, 20, 23, 1), spec, NOW, 9, at_once=9) == [], "nothing is signed twice a day"
    week = 7 * 24
    assert rules.bins_due(aged(week, 20, week + 1, 25), spec, NOW, 2) == ["b8-02", "b8-00"], (
        "what is due is not put off"
    )


def test_changes_are_sorted_into_their_bins() -> None:
    """Each target goes to the one bin its path hashes to, set and unset alike."""
    one = rules.entry_of(pointer_target(WIDGET.name, FileName("a-1.whl")), b"x")
    gone = pointer_target(WIDGET.name, FileName("b-1.whl"))
    grouped = rules.group_by_bin([one], [gone], lambda path: "left" if "a-1" in path else "right")
    assert grouped == {"left": ([one], []), "right": ([], [gone])}


QUARANTINED = replace(WIDGET, status="quarantined", status_reason="malware")


def test_nothing_of_a_quarantined_project_is_visible() -> None:
    """Every pointer and `_latest` go, files that arrive meanwhile stay out, and no file is called removed."""
    old, new = wheel("1.0", number=1, published=True, was_published=True), wheel("1.1", number=2)
    asked = Request(rows.STATUS_CHANGE, "root", status="quarantined")
    plan = rules.plan_project(INDEX, 4, QUARANTINED, [old, new], [asked])
    assert (plan.page.files, plan.added, plan.dropped) == ([], (), (old,))
    assert set(plan.unset(())) == {pointer_target(WIDGET.name, old.file_name), latest_target(WIDGET.name)}
    assert [(line.action, line.actor) for line in plan.journal] == [("set status quarantined", "root")]


def test_what_leaves_quarantine_is_shown_again_whole() -> None:
    """All files count as added, so that their pointers are rendered; only the one nobody saw yet is journalled."""
    old, new = wheel("1.0", number=1, was_published=True), wheel("1.1", number=2)
    plan = rules.plan_project(INDEX, 5, WIDGET, [old, new])
    assert plan.added == (old, new)
    assert plan.unset({file.file_name for file in plan.page.files}) == ()
    assert [line.action for line in plan.journal] == ["add bdist_wheel file widget-1.1-py3-none-any.whl"]


def test_requests_stand_in_the_journal_in_their_order() -> None:
    """Who asked for what is kept; a removed file has the one line of its going."""
    gone = wheel("1.1", number=2, published=True, removed=True, removed_by="mallory")
    asked = [
        Request("release.yank", "root", version="1.0"),
        Request("file.unyank", "ci", version="1.0", file="widget-1.0-py3-none-any.whl"),
        Request("file.remove", "mallory", version="1.1", file=gone.file_name),
    ]
    plan = rules.plan_project(INDEX, 5, WIDGET, [gone], asked)
    assert [(line.version, line.action, line.actor) for line in plan.journal] == [
        ("1.0", "yank release", "root"),
        ("1.0", "unyank file widget-1.0-py3-none-any.whl", "ci"),
        ("1.1", "remove file widget-1.1-py3-none-any.whl", "mallory"),
    ]


def test_requests_say_which_releases_they_are_about() -> None:
    """Marks are about their versions; a change of status, or one without a version, may be about every file."""
    yank, remove = Request("release.yank", "root", "1.0"), Request("file.remove", "root", "1.1", "widget-1.1.tar.gz")
    assert rules.asked_releases([]) == frozenset()
    assert rules.asked_releases([yank, remove]) == frozenset({"1.0", "1.1"})
    assert rules.asked_releases([yank, Request(rows.STATUS_CHANGE, "root", status="archived")]) is None
    assert rules.asked_releases([yank, Request("release.unyank", "root")]) is None


def test_bins_of_two_counts_are_paired_so_that_each_pair_holds_the_same_targets() -> None:
    """Whatever target, its bin of one count stands beside its bin of the other."""
    old, new = SuccinctRoles([], 1, 3, "b3"), SuccinctRoles([], 1, 5, "b5")
    growing = rules.bin_groups(list(old.get_roles()), list(new.get_roles()))
    shrinking = rules.bin_groups(list(new.get_roles()), list(old.get_roles()))
    assert [(len(one), len(other)) for one, other in growing] == [(1, 4)] * 8
    assert shrinking == [(other, one) for one, other in growing]
    for number in range(500):
        path = f"pointers/p{number}/_simple.json"
        (pair,) = [pair for pair in growing if old.get_role_for_target(path) in pair[0]]
        assert new.get_role_for_target(path) in pair[1]


def test_bins_of_an_earlier_count_are_never_due() -> None:
    """They are listed for ever, expired, and take nobody's turn."""
    spec = PROFILES["development"].roles[Role.BINS]
    current = {name: CurrentFile(name, 1, NOW) for name in ("b1-0", "b1-1", "b10-000", "b10-001")}
    assert rules.bins_due(current, spec, NOW, 2, prefix="b10-") == ["b10-000", "b10-001"]
    assert rules.bins_due(current, spec, NOW, 9, prefix="b1-") == ["b1-0", "b1-1"]
