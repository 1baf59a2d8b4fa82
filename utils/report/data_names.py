"""Sections of the data report on names and characters."""

import unicodedata

from utils.data.data_report import Characters, Names, Statistics
from utils.report.page import Html, isolated, join, meter, table, tag

RARE_CHARACTER = 3  # times used at most, in a text of many thousand characters

MANY_CHARACTERS = 5000


def names_section(statistics: Statistics) -> Html:
    """Who speaks how much: speakers, groups and languages where there are any."""
    parts = []
    if statistics.speakers.distinct:
        parts.append(names_table(statistics.speakers, "speaker"))
        if without := statistics.speakers.clips_without:
            parts.append(tag("p", f"{without:,} clips name no speaker.", class_="soft"))
    if statistics.groups.distinct:
        parts.append(names_table(statistics.groups, "group"))
    if statistics.languages.distinct > 1:
        parts.append(names_table(statistics.languages, "language"))
    return join(parts)


def names_table(names: Names, what: str) -> Html:
    """Hours of each name, the largest first, with a bar for its share of all."""
    total = max(sum(named.hours for named in names.largest) + names.hours_of_others, 1e-9)
    shown: list[tuple[str, float]] = [(isolated(named.name), named.hours) for named in names.largest]
    if others := names.distinct - len(names.largest):
        shown.append((f"{others:,} others", names.hours_of_others))
    rows = [[label, f"{hours:.2f}", meter(hours / total)] for label, hours in shown]
    caption = f"{names.distinct:,} {what}{'s' if names.distinct > 1 else ''}"
    return table(caption, (what, "hours", "share"), rows, numeric=(1,))


def characters_section(characters: Characters) -> Html:
    """Every character used, so that slips in the spelling and foreign letters are seen."""
    marks_rare = characters.total >= MANY_CHARACTERS
    items = [
        character_item(entry.character, entry.count, marks_rare and entry.count <= RARE_CHARACTER)
        for entry in characters.counts
    ]
    words = (
        f"The transcripts use {characters.distinct:,} different characters, "
        f"{characters.total:,} in all. Look for letters of other alphabets, symbols nobody says, and two "
        "forms of one sign."
    )
    if marks_rare:
        words += f" Those used {RARE_CHARACTER} times or less are marked."
    if characters.count_of_others:
        words += f" The rarest, used {characters.count_of_others:,} times together, are not listed."
    return join([tag("p", words), tag("ul", *items, class_="characters")])


def character_item(character: str, count: int, is_rare: bool) -> Html:
    """A character with its count; one that cannot be seen is named."""
    name = unicodedata.name(character, "unnamed character")
    code = f"U+{ord(character):04X} {name}"
    category = unicodedata.category(character)
    if category[0] in "CZ":
        shown = tag("b", "␣") if character == " " else tag("b", code)
    else:
        # a mark is shown on a circle, as it has no place of its own
        shown = tag("b", isolated("◌" + character if category[0] == "M" else character))
    more = {"class_": "rare"} if is_rare else {}
    return tag("li", shown, tag("span", f"{count:,}"), title=code, **more)
