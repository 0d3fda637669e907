"""One entry for each URI, against a plain loop over the mentions."""

import collections

from hypothesis import given
from hypothesis import strategies as st

from pipeline import columns
from pipeline.catalog import batches
from pipeline.catalog.batches import KEPT
from pipeline.catalog.distinct import one_per_uri
from pipeline.records import CatalogEntry, Reason, Totals

MENTIONS = st.lists(
    st.tuples(
        st.sampled_from("abcd"), st.lists(st.sampled_from("1234"), unique=True), st.booleans()
    ),
    max_size=30,
)


def by_loop(entries):
    """The same as `one_per_uri`, an entry at a time."""
    groups = collections.defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.position):
        groups[entry.uri].append(entry)
    found = []
    for group in groups.values():
        ids = tuple(dict.fromkeys(one for entry in group for one in entry.product_ids))
        if group[0].position != KEPT:
            found.append(group[0]._replace(product_ids=ids, mentions=1))
    named = [[one for one in group if one.position != KEPT] for group in groups.values()]
    mentions = sum(one.mentions for group in named for one in group)
    return sorted(found), Totals(mentions, sum(map(bool, named)), len(groups))


@given(MENTIONS, st.sets(st.sampled_from("abx")), st.randoms(use_true_random=False))
def test_any_mentions_give_what_a_loop_gives(mentions, kept, random):
    entries = [
        CatalogEntry(uri, f"/{uri}", i, tuple(ids), mentions=1 + is_double)
        for i, (uri, ids, is_double) in enumerate(mentions)
    ]
    entries += [CatalogEntry(uri, "", KEPT) for uri in kept]
    random.shuffle(entries)
    batch = columns.concat(list(batches.from_entries(entries)), batches.SCHEMA)
    found, totals = one_per_uri(batch)
    found = [entry._replace(mentions=1) for entry in batches.to_entries(found)]
    assert (sorted(found), totals) == by_loop(entries)
    assert [one.position for one in found] == sorted(one.position for one in found)


def test_entries_survive_as_columns():
    entries = [
        CatalogEntry("s3://b/x", "s3://b/x", 2, ("a", "ü"), etag="e", size_bytes=2**40),
        CatalogEntry("x.jpg", "/in/x.jpg", 3, (), "hr.png", "/in/hr.png", reference_etag="r"),
        CatalogEntry("m#line=2", "", 4, mentions=7).rejected(Reason.BAD_LINE, "line 2"),
    ]
    (batch,) = batches.from_entries(entries)
    assert batch.schema.equals(batches.SCHEMA)
    assert batches.to_entries(batch) == entries
    assert list(batches.from_entries([])) == []
