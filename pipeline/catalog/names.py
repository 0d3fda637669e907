"""Names of files that are no images: what systems, exports and people leave among images."""

# Of single files, in lower case.
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "_success"}
_SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"}
_HADOOP_FOLDER = "_$folder$"
# Of files beside images, in lower case. Formats that any program may call an image stay out,
# such as .psd: a file of theirs is read, and its row says what it is.
_OTHER_SUFFIXES = {
    *("txt", "json", "jsonl", "ndjson", "xml", "yaml", "yml", "csv", "tsv", "parquet", "avro"),
    *("pdf", "svg", "svgz", "html", "htm", "css", "js", "md", "rtf", "doc", "docx", "xls", "xlsx"),
    *("ppt", "pptx", "zip", "gz", "tgz", "tar", "7z", "rar", "log", "ini", "db", "sqlite", "bak"),
    *("xmp", "aae", "md5", "sha1", "sha256", "crc", "ttf", "otf", "woff", "woff2"),
    *("mp4", "mov", "m4v", "avi", "webm", "mkv", "mp3", "wav", "glb", "gltf", "usdz"),
}


def why_no_image(path: str) -> str | None:
    """Returns why a listed file is no image, by its name alone.

    Args:
        path: below the folder or prefix that is listed, with `/` between its parts.

    Returns:
        A line for people; None if the file may be an image.

    Example:
        >>> why_no_image("shoes/.DS_Store"), why_no_image("shoes/a.json"), why_no_image("a.jpg")
        ('a hidden file', 'a .json file', None)
    """
    folder, _, name = path.rpartition("/")
    if folder and not _SYSTEM_FOLDERS.isdisjoint(folder.split("/")):
        return "a file in a folder of the system"
    if folder.startswith(".") or "/." in folder:
        return "a file in a hidden folder"
    if name.startswith("."):
        return "a hidden file"
    if name.lower() in _SYSTEM_FILES or name.endswith(_HADOOP_FOLDER):
        return "a file of the system"
    stem, _, suffix = name.rpartition(".")
    return f"a .{suffix} file" if stem and suffix.lower() in _OTHER_SUFFIXES else None
