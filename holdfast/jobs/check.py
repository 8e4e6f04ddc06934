"""What every job checks before it computes."""


def check_deltas(files, family, lineages):
    """Refuse delta files that are not those of these lineages of a family: right in form, but in another's place.

    Of a lineage that ends in an adapter carried over from the base, the file is that of the adapter's own training.

    Raises ArtifactError for the first one; its data are verified when it is applied.
    """
    from holdfast import artifacts
    from holdfast.errors import ArtifactError
    from holdfast.lineage import sources

    for path, place in zip(files, lineages, strict=True):
        lineage = sources(place)[-1]
        header = artifacts.read_header(path)
        found = (header["kind"], header.get("family"), header.get("lineage"))
        if found != ("delta", family, lineage):
            raise ArtifactError(
                f"{path} is foreign: it is the {found[0]} of {found[1]}/{found[2]}; "
                "delete it and run the workflow again."
            )
