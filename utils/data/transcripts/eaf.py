"""Reads ELAN's annotation files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn
from xml.etree.ElementTree import XML, Element, ParseError, TreeBuilder, XMLParser

from utils.data.segmentation.pieces import BadPiece, Piece, join_texts
from utils.data.transcripts.pieces import build_piece, read_seconds
from utils.data.transcripts.textgrid import choose_names
from utils.runtime.problems import BadItem, Problem
from utils.text.cleaning import clean_text


def read_eaf(text: str, tier: str | None = None) -> Iterator[Piece | BadPiece]:
    """Read the tiers of an ELAN file. `position` is the id of the annotation.

    Without `tier`, all tiers without a parent are read. If there are several tiers, the speaker is the
    participant of the tier. If the tier has no participant, it is the tier's name. In a dependent tier,
    annotations may have no times of their own. They get the times of the annotation to which they refer. If
    several of them refer to the same annotation, they are read as one piece. Format:
    https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf.

    Raises:
        BadItem: It is not an ELAN file, or has no tier of that name.
    """
    try:
        root = XML(text, XMLParser(target=_WithoutDoctype()))
    except ParseError as error:
        raise BadItem("bad XML", f"{error}") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise BadItem("not an ELAN file", f"found <{root.tag[:40]}>, expected <ANNOTATION_DOCUMENT>")
    tiers = [found for found in root.iterfind("TIER") if found.find("ANNOTATION") is not None]
    if tier is not None:
        names = choose_names([_tier_name(found) for found in tiers], tier)
        chosen = [found for found in tiers if _tier_name(found) in names]
    else:
        chosen = [found for found in tiers if not found.get("PARENT_REF")]
        for found in tiers:
            if parent := found.get("PARENT_REF"):
                problem = Problem("tier not read", f"it depends on {parent!r}; name the tier to read it")
                yield BadPiece(f"tier {_tier_name(found)!r}", problem)
    slots, annotations = _eaf_slots(root), _eaf_annotations(tiers)
    for found in chosen:
        speaker = found.get("PARTICIPANT") or (_tier_name(found) if len(chosen) > 1 else None)
        yield from _read_eaf_tier(slots, annotations, found, speaker)


class _WithoutDoctype(TreeBuilder):
    """Refuse a document type declaration. It may declare entities, which are used in attacks."""

    def doctype(self, *_: str | None) -> NoReturn:
        raise BadItem("bad XML", "found a document type declaration, which ELAN files do not have")


def _tier_name(tier: Element) -> str:
    return tier.get("TIER_ID", "")


def _eaf_slots(root: Element) -> dict[str, float | None]:
    """Return the seconds in the recording of each time slot. None for slots without a time in ELAN.

    Raises:
        BadItem: The unit is not milliseconds.
    """
    header = root.find("HEADER")
    unit = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if unit != "milliseconds":
        raise BadItem("unknown time unit", f"{unit!r}, expected milliseconds; save the file in ELAN again")
    origin = _eaf_origin(root)
    slots: dict[str, float | None] = {}
    for slot in root.iterfind("TIME_ORDER/TIME_SLOT"):
        milliseconds = read_seconds(slot.get("TIME_VALUE", ""))
        slots[slot.get("TIME_SLOT_ID", "")] = None if milliseconds is None else milliseconds / 1000 + origin
    return slots


def _eaf_origin(root: Element) -> float:
    """Return the time in the recording, in seconds, at which the time of the document begins."""
    media = root.findall("HEADER/MEDIA_DESCRIPTOR")
    origins = {read_seconds(descriptor.get("TIME_ORIGIN", "0")) or 0.0 for descriptor in media}
    if len(origins) > 1:
        raise BadItem(
            "several time origins", "the linked media begin at different times; link only the audio"
        )
    return origins.pop() / 1000 if origins else 0.0


def _eaf_annotations(tiers: Iterable[Element]) -> dict[str, Element]:
    """Return the annotations by their id.

    Raises:
        BadItem: Two annotations have the same id.
    """
    annotations: dict[str, Element] = {}
    for tier in tiers:
        for annotation in tier.iterfind("ANNOTATION/*"):
            if annotations.setdefault(_id_of(annotation), annotation) is not annotation:
                raise BadItem("damaged ELAN file", f"several annotations have the id {_id_of(annotation)!r}")
    return annotations


def _id_of(annotation: Element) -> str:
    return annotation.get("ANNOTATION_ID", "")


def _read_eaf_tier(
    slots: Mapping[str, float | None], annotations: Mapping[str, Element], tier: Element, speaker: str | None
) -> Iterator[Piece | BadPiece]:
    together: dict[str, list[Element]] = {}  # by the annotation with the times
    for annotation in _in_chain_order(tier.findall("ANNOTATION/*")):
        together.setdefault(_id_of(_aligned(annotations, annotation)), []).append(annotation)
    for aligned_id, parts in together.items():
        position, aligned = _id_of(parts[0]), annotations[aligned_id]
        start, end = (slots.get(aligned.get(f"TIME_SLOT_REF{number}", "")) for number in (1, 2))
        values = (clean_text(annotation.findtext("ANNOTATION_VALUE") or "") for annotation in parts)
        if start is None or end is None:
            yield BadPiece(
                position, Problem("no times", "the annotation is not aligned; give it times in ELAN")
            )
        else:
            yield build_piece(position, start, end, join_texts(filter(None, values)), speaker)


def _aligned(annotations: Mapping[str, Element], annotation: Element) -> Element:
    """Follow the references until an annotation with times is found.

    If none has times, return the last one.
    """
    seen = {_id_of(annotation)}
    while (parent_id := annotation.get("ANNOTATION_REF")) in annotations and parent_id not in seen:
        annotation = annotations[str(parent_id)]
        seen.add(str(parent_id))
    return annotation


def _in_chain_order(annotations: Sequence[Element]) -> list[Element]:
    """Sort annotations as ELAN shows them: each after its PREVIOUS_ANNOTATION."""
    following = {annotation.get("PREVIOUS_ANNOTATION"): annotation for annotation in annotations}
    ordered: dict[str, Element] = {}
    own = {_id_of(annotation) for annotation in annotations}
    heads = [annotation for annotation in annotations if annotation.get("PREVIOUS_ANNOTATION") not in own]
    for annotation in [*heads, *annotations]:  # the second pass adds annotations of broken chains
        following_one: Element | None = annotation
        while following_one is not None and _id_of(following_one) not in ordered:
            ordered[_id_of(following_one)] = following_one
            following_one = following.get(_id_of(following_one))
    return list(ordered.values())
