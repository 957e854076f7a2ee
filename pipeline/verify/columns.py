"""Whether a table has the columns that it should have."""

from __future__ import annotations

import pyarrow as pa

from pipeline.shards import LATER_COLUMNS


def schema_differences(found: pa.Schema, wanted: pa.Schema) -> list[str]:
    """What wanted columns lack, or are instead; a sentence each. More columns are none, and later
    ones may lack."""
    sentences = []
    for field_ in wanted:
        if field_.name not in found.names:
            if field_.name in LATER_COLUMNS:
                continue
            sentences.append(f"has no column {field_.name}")
        elif len(found.get_all_field_indices(field_.name)) > 1:
            sentences.append(f"has several columns {field_.name}")
        elif not found.field(field_.name).equals(field_):
            other = found.field(field_.name)
            sentences.append(
                f"column {field_.name} is {_type(other)}, and should be {_type(field_)}"
            )
    return sentences


def _type(column: pa.Field) -> str:
    return f"{column.type}{'' if column.nullable else ' not null'}"
