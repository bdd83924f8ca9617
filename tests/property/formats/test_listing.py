"""A kept listing renders what a new one of the same files renders, however its files came and went."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from countermark.core.names import FileName
from shared.formats.interface import PageFile
from shared.formats.registry import FORMATS
from tests.unit.formats.pages import page_file, project_page

_VERSIONS = ("1.0", "1.0.0", "1.0rc1", "1.0.post1", "1.1", "1.10", "1!0.1", "2.0+cu.1", "2.0.dev3")
_TAGS = ("-py3-none-any.whl", "-cp311-cp311-win32.whl", ".tar.gz")
_NAMES = st.builds("widget-{}{}".format, st.sampled_from(_VERSIONS), st.sampled_from(_TAGS))
_STATUSES = st.sampled_from(("active", "archived", "deprecated", "quarantined"))


class ListingMachine(RuleBasedStateMachine):
    """Adds, replaces, yanks and drops files, and changes the status, of one listing and of a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.listing = FORMATS["python"].listing()
        self.files: dict[FileName, PageFile] = {}
        self.status = "active"

    @rule(name=_NAMES, yanked=st.none() | st.text(max_size=5), core_metadata=st.booleans())
    def add(self, name: str, yanked: str | None, core_metadata: bool) -> None:
        """A file comes, or one takes the name of another."""
        file = page_file(name, yanked=yanked, core_metadata=core_metadata)
        self.files[file.file_name] = file
        self.listing.set(file)

    @rule(data=st.data(), reason=st.none() | st.just("") | st.text(max_size=5))
    def yank(self, data: st.DataObject, reason: str | None) -> None:
        """A listed file is yanked, or its yank is taken back."""
        if self.files:
            name = data.draw(st.sampled_from(sorted(self.files)))
            self.files[name] = replace(self.files[name], yanked=reason)
            self.listing.set(self.files[name])

    @rule(name=_NAMES)
    def drop(self, name: str) -> None:
        """A file goes, if it is there."""
        self.files.pop(FileName(name), None)
        self.listing.drop(FileName(name))

    @rule(status=_STATUSES)
    def set_status(self, status: str) -> None:
        """The project is archived, quarantined, or active again."""
        self.status = status

    @invariant()
    def renders_as_a_new_one(self) -> None:
        """The bytes of every target, their order, the count and the weight are those of a listing made anew."""
        page = project_page(list(self.files.values()), status=self.status, status_reason="why")
        new = FORMATS["python"].listing(page.files)
        wanted = new.render(page, set(self.files))
        assert list(self.listing.render(page, set(self.files)).items()) == list(wanted.items())
        assert (len(self.listing), self.listing.weight) == (len(new), new.weight)
        assert all(name in self.listing for name in self.files)


TestListing = ListingMachine.TestCase
TestListing.__doc__ = "Any sequence of changes leaves the listing as if it were made of the files that are left."
