"""File names that people know: unique, stable and valid on every common file system."""

import dataclasses
import random
import re
import unicodedata

import pytest

from pipeline.read.images import RunImage
from pipeline.read.names import SCHEMES, name_images

BASE = "s3://shop/images/"


def image(uri, *product_ids, image_format="jpeg", key="ab12cd34ef"):
    return RunImage(uri, f"s3://out/{key}", image_format, key, product_ids)


def named(*images, scheme="source", base=BASE):
    """File names by URI; those of an image with several products as a list."""
    found = name_images(images, scheme, base)
    names = {one.image.uri: list(one.file_names) for one in found.images}
    return {uri: many[0] if len(many) == 1 else many for uri, many in names.items()}


@pytest.mark.parametrize(
    ("uri", "base", "expected"),
    [
        ("s3://shop/images/shoes/red.jpg", BASE, "shoes/red.jpg"),
        ("s3://shop/images//red.jpg", BASE, "red.jpg"),
        ("s3://other/shoes/red.jpg", BASE, "shoes/red.jpg"),  # without its bucket
        ("s3://shop/images/red.jpg", "s3://shop/lists/night.csv", "images/red.jpg"),
        ("s3://shop/lists/red.jpg", "s3://shop/lists/night.csv", "red.jpg"),
        ("file:///data/in/a%20b/%C3%BC.jpg", "/data/in/", "a b/ü.jpg"),
        ("file:///elsewhere/x.jpg", "/data/in/", "elsewhere/x.jpg"),
        ("shoes/red.jpg", "/data/manifest.csv", "shoes/red.jpg"),
        ("/data/shoes/red.jpg", "/data/manifest.csv", "shoes/red.jpg"),
        ("s3://shop/images/a%20b.jpg", BASE, "a%20b.jpg"),  # keys are not encoded
        ("file://elsewhere/x.jpg", "", "file_/elsewhere/x.jpg"),  # no path of this machine
    ],
)
def test_a_source_gives_its_folder_and_name(uri, base, expected):
    assert named(image(uri), base=base) == {uri: expected}


@pytest.mark.parametrize(
    ("name", "image_format", "expected"),
    [
        ("photo.jpg", "png", "photo.png"),
        ("photo.jpg.png", "webp", "photo.webp"),
        ("photo.jpg.png", "jpeg", "photo.jpg"),
        ("photo.JPEG", "jpeg", "photo.JPEG"),  # its own suffix, where it is right
        ("photo.jpeg", "avif", "photo.avif"),
        ("photo", "jpeg", "photo.jpg"),
        ("v1.2", "jpeg", "v1.2.jpg"),
        ("v1.2.tif", "png", "v1.2.png"),
        (".jpg", "jpeg", "jpg.jpg"),
        ("..jpg", "png", "jpg.png"),
    ],
)
def test_a_file_has_the_one_right_suffix(name, image_format, expected):
    uri = f"{BASE}{name}"
    assert named(image(uri, image_format=image_format)) == {uri: expected}


HOSTILE = {
    "../../etc/passwd.jpg": "_/_/etc/passwd.jpg",
    "a/./b.jpg": "a/_/b.jpg",
    "a\\..\\b.jpg": "a_.._b.jpg",
    "CON.jpg": "_CON.jpg",
    "aux/lpt1.png.jpg": "_aux/_lpt1.jpg",
    "com¹.jpg": "_com¹.jpg",
    "what?.jpg": "what_.jpg",
    'a<b>:"|*.jpg': "a_b_____.jpg",
    "nul\0\n\x1b[2J.jpg": "nul___[2J.jpg",
    " spaces . /dots....jpg": "spaces/dots.jpg",
    ".hidden.jpg": "hidden.jpg",
    "gpj\u202e.exe.jpg": "gpj_.exe.jpg",
    "lone\ud800.jpg": "lone_.jpg",
    "e\u0301.jpg": "\u00e9.jpg",
    "鞋子/Çok güzel 😀.jpg": "鞋子/Çok güzel 😀.jpg",
}


@pytest.mark.parametrize("key", HOSTILE)
def test_names_lead_nowhere_and_are_valid_everywhere(key):
    for base in (BASE, ""):
        uri = f"{BASE}{key}" if base else f"s3://shop/{key}"
        assert named(image(uri), base=base) == {uri: HOSTILE[key]}


@pytest.mark.parametrize("letter", ["x", "é", "😀", "e\u0301"])
def test_long_names_are_cut_and_stay_apart(letter):
    long = letter * 500
    names = named(image(f"{BASE}{long}/{long}1.jpg"), image(f"{BASE}{long}/{long}2.jpg")).values()
    assert len(set(names)) == 2
    for name in names:
        for part in name.split("/"):
            assert len(part.encode()) < 200 and unicodedata.is_normalized("NFC", part)


def test_names_that_collide_end_in_a_digest_of_the_uri():
    uris = [f"{BASE}a.jpg", f"{BASE}a.png", f"{BASE}A.webp", f"{BASE}b.jpg", f"{BASE}b.png/c.jpg"]
    images = [image(uri, image_format="png") for uri in uris]
    found = name_images(images, "source", BASE)
    names = dict(zip(uris, (one.file_names[0] for one in found.images), strict=True))
    assert found.taken == 4  # b.png cannot be a file and a folder
    for uri, stem in zip(uris, ("a", "a", "A", "b"), strict=False):
        assert re.fullmatch(rf"{stem}-[0-9a-f]{{8}}\.png", names[uri])
    assert names[uris[4]] == "b.png/c.png"
    random.Random(1).shuffle(images)
    again = name_images(images, "source", BASE)
    assert {one.image.uri: one.file_names[0] for one in again.images} == names


def test_a_name_that_looks_like_anothers_digest_stays_apart():
    first = named(image(f"{BASE}a.jpg"), image(f"{BASE}A.jpg"))
    taken = first[f"{BASE}A.jpg"]
    names = named(image(f"{BASE}a.jpg"), image(f"{BASE}A.jpg"), image(f"{BASE}{taken}"))
    assert names[f"{BASE}{taken}"] == taken
    assert names[f"{BASE}A.jpg"] == taken.replace(".jpg", "-2.jpg")


def test_products_are_numbered_in_the_order_of_a_person():
    images = [image(f"{BASE}{i}.jpg", "47 11") for i in (10, 2, 1)]
    assert named(*images, scheme="product") == {
        f"{BASE}10.jpg": "47 11-3.jpg",
        f"{BASE}2.jpg": "47 11-2.jpg",
        f"{BASE}1.jpg": "47 11-1.jpg",
    }


def test_an_image_of_several_products_gets_a_file_for_each():
    names = named(image(f"{BASE}a.jpg", "p1", "p2"), image(f"{BASE}b.jpg", "p2"), scheme="product")
    assert names == {f"{BASE}a.jpg": ["p1-1.jpg", "p2-1.jpg"], f"{BASE}b.jpg": "p2-2.jpg"}


def test_without_a_product_the_source_names_an_image():
    found = name_images([image(f"{BASE}x/a.jpg"), image(f"{BASE}b.jpg", "p")], "product", BASE)
    assert [one.file_names for one in found.images] == [("x/a.jpg",), ("p-1.jpg",)]
    assert found.without_product == 1 and found.taken == 0


def test_product_ids_that_a_file_name_cannot_tell_apart():
    ids = ("A/1", "A_1", "a_1", "../x", "", "p" * 300 + "1", "p" * 300 + "2")
    images = [image(f"{BASE}{i}.jpg", product_id) for i, product_id in enumerate(ids)]
    names = list(named(*images, scheme="product").values())
    assert len({name.casefold() for name in names}) == len(ids)
    assert all(re.fullmatch(r"[Aa]_1-[0-9a-f]{8}-1\.jpg", name) for name in names[:3])
    assert names[3:5] == ["_x-1.jpg", "_-1.jpg"]
    assert all(len(name) < 200 for name in names)


def test_names_by_content_are_those_of_before():
    uri = f"{BASE}shoes/ü red.jpg"
    assert named(image(uri), scheme="content") == {uri: "_red.jpg-ab12cd34.jpeg"}


def test_two_contents_whose_keys_begin_alike_get_two_names():
    uris = [f"{BASE}{i}/main.jpg" for i in range(5)]
    keys = ["ab12cd34a", "ab12cd34b", "ab12cd34a", "ab12cd34c", "0f3a1b2c0"]
    images = [image(uri, key=key) for uri, key in zip(uris, keys, strict=True)]
    found = name_images(images, "content", BASE)
    names = {one.image.uri: one.file_names for one in found.images}
    assert names[uris[4]] == ("main.jpg-0f3a1b2c.jpeg",)
    assert names[uris[0]] == names[uris[2]]  # equal content
    apart = {names[uri] for uri in uris[:4]}
    assert len(apart) == found.taken == 3
    for (name,) in apart:
        assert re.fullmatch(r"main\.jpg-ab12cd34-[0-9a-f]{8}\.jpeg", name)
    random.Random(1).shuffle(images)
    again = name_images(images, "content", BASE)
    assert {one.image.uri: one.file_names for one in again.images} == names


def test_names_by_content_never_differ_by_case_alone():
    images = [image(f"{BASE}{name}.jpg") for name in ("Red", "red", "RED")]
    found = [name_images(order, "content", BASE) for order in (images, images[::-1])]
    names, again = ({one.image.uri: one.file_names[0] for one in it.images} for it in found)
    assert names == again and len({name.casefold() for name in names.values()}) == 3


def test_random_names_never_collide():
    generator = random.Random(1)
    letters = "aA.é\u0301/ -1jpgÅ\u212b"
    keys = {"".join(generator.choices(letters, k=generator.randint(1, 8))) for _ in range(3000)}
    images = [
        image(f"{BASE}{key}{suffix}", key[:2], image_format="jpeg")
        for key in sorted(keys)
        for suffix in ("", ".jpg")
    ]
    for scheme in SCHEMES:
        if scheme == "content":  # eight digits of a key are too few for so many
            images = [
                dataclasses.replace(one, content_key=f"ab12cd34{index}")
                for index, one in enumerate(images)
            ]
        found = name_images(images, scheme, BASE)
        names = [name for one in found.images for name in one.file_names]
        keys = {unicodedata.normalize("NFC", name.casefold()) for name in names}
        assert len(keys) == len(images)
        folders = {name.rpartition("/")[0] for name in keys}
        assert not folders & keys
        for name in names:
            assert all(
                part not in ("", ".", "..") and part == part.strip(" ") for part in name.split("/")
            )


def test_an_unknown_scheme():
    with pytest.raises(ValueError, match=r"content, source, product\. Received: 'uri'"):
        name_images([], "uri", BASE)
