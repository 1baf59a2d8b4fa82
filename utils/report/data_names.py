"""Sections of the data report on names and characters."""

import unicodedata

from utils.report.page import Html, isolated, join, meter, table, tag

RARE_CHARACTER = 3  # times used at most, in a text of many thousand characters

MANY_CHARACTERS = 5000


def names_section(statistics: dict | None) -> Html:
    """Who speaks how much: speakers, groups and languages where there are any."""
    parts = []
    for key, what in (("speakers", "speaker"), ("groups", "group"), ("languages", "language")):
        counted = (statistics or {}).get(key, {"distinct": 0})
        if counted["distinct"] < (2 if key == "languages" else 1):
            continue
        parts.append(names_table(counted, what))
        if counted.get("clips_without"):
            parts.append(tag("p", f"{counted['clips_without']:,} clips name no {what}.", class_="soft"))
    return join(parts)


def names_table(counted: dict, what: str) -> Html:
    """Hours of each name, the largest first, with a bar for its share of all."""
    largest, others = counted["largest"], counted["hours_of_others"]
    total = sum(entry["hours"] for entry in largest) + others
    rows = [
        [isolated(entry["name"]), f"{entry['hours']:.2f}", meter(entry["hours"] / max(total, 1e-9))]
        for entry in largest
    ]
    if counted["distinct"] > len(largest):
        label = f"{counted['distinct'] - len(largest):,} others"
        rows.append([label, f"{others:.2f}", meter(others / max(total, 1e-9))])
    about = "" if counted["is_exact"] else "about "
    caption = f"{about}{counted['distinct']:,} {what}{'s' if counted['distinct'] > 1 else ''}".capitalize()
    return table(caption, (what, "hours", "share"), rows, numeric=(1,))


def characters_section(statistics: dict | None) -> Html:
    """Every character used, so that slips in the spelling and foreign letters are seen."""
    characters = (statistics or {}).get("characters")
    if not characters or not characters["counts"]:
        return Html("")
    marks_rare = characters["total"] >= MANY_CHARACTERS
    items = [
        character_item(entry["character"], entry["count"], marks_rare and entry["count"] <= RARE_CHARACTER)
        for entry in characters["counts"]
    ]
    about = "" if characters["is_exact"] else "about "
    words = (
        f"The transcripts use {about}{characters['distinct']:,} different characters, "
        f"{characters['total']:,} in all. Look for letters of other alphabets, symbols nobody says, and two "
        "forms of one sign."
    )
    if marks_rare:
        words += f" Those used {RARE_CHARACTER} times or less are marked."
    if characters["count_of_others"]:
        words += f" The rarest, used {characters['count_of_others']:,} times together, are not listed."
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
