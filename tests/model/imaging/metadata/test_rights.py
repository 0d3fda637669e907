import json

import pytest

from model.imaging.metadata.rights import MAX_JSON_BYTES, Rights, RightsCollector, Value


def test_the_first_source_of_a_property_counts():
    collector = RightsCollector()
    collector.fill("dc:rights", [Value(" \t"), Value("")])
    collector.fill("dc:rights", [Value("one"), Value("one"), Value("two", "DE")])
    collector.fill("dc:rights", [Value("three")])
    collector.fill("dc:title", [Value("no right")])
    assert collector.collected() == Rights((("dc:rights", (Value("one"), Value("two", "de"))),))
    assert RightsCollector().collected() is None


def test_texts_and_their_number_are_bounded():
    collector = RightsCollector()
    collector.fill("dc:rights", [Value("x" * 10**6)])
    collector.fill("dc:creator", (Value(str(number)) for number in range(10**6)))
    rights = collector.collected()
    assert [len(text) for text in rights.texts("dc:rights")] == [4000]
    assert rights.texts("dc:creator") == tuple(map(str, range(50)))
    assert rights.texts("cc:license") == ()


def test_rights_travel_as_json():
    rights = Rights(
        (("dc:creator", (Value("Jürgen"), Value("Ann"))), ("cc:license", (Value("u"),)))
    )
    assert Rights.from_json(rights.to_json()) == rights
    assert len(rights.to_json()) < MAX_JSON_BYTES


@pytest.mark.parametrize(
    "lie",
    [
        b"\xff",
        b"7",
        b"[" * 5000,
        *(
            json.dumps(one).encode()
            for one in (
                [["dc:rights"]],
                [["dc:rights", 7]],
                [["dc:rights", [7]]],
                [["dc:rights", [[7, ""]]]],
                [["dc:rights", [["a", 7]]]],
                [["dc:rights", [["a", "b", "c"]]]],
                [[["dc:rights"], [["a"]]]],
            )
        ),
    ],
)
def test_other_json_is_refused(lie):
    with pytest.raises(ValueError, match=r"."):
        Rights.from_json(lie)


def test_json_of_a_hostile_process_is_cleaned_and_bounded():
    lie = [["dc:rights", [["a\x1b[2J" * 9999, "x" * 99]]], ["evil:name", [["x", ""]]]]
    (only,) = Rights.from_json(json.dumps(lie).encode()).properties
    name, (value,) = only
    assert name == "dc:rights" and value.language == ""
    assert "\x1b" not in value.text and len(value.text) <= 4000
    assert Rights.from_json(b"[]") is None
