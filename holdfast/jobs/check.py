"""What every job checks before it computes."""


def check_deltas(files, family, lineages):
    """Refuse delta files that are not those of these lineages of a family: right in form, but in another's place.

    Raises ArtifactError for the first one; its data are verified when it is applied.
    """
    from holdfast import artifacts
    from holdfast.errors import ArtifactError

    for path, lineage in zip(files, lineages, strict=True):
        header = artifacts.read_header(path)
        found = (header["kind"], header.get("family"), header.get("lineage"))
        if found != ("delta", family, lineage):
            raise ArtifactError(
                f"{path} is foreign: it is the {found[0]} of {found[1]}/{found[2]}; "
                "delete it and run the workflow again."
            )
