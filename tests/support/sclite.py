"""NIST's sclite and sc_stats as judges, and sentences in many scripts with random errors to be judged on."""

import random
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from utils.scoring.error_rates import ErrorCounts
from utils.scoring.word_alignment import Edit

# article 1 of the Universal Declaration of Human Rights; Thai, Chinese and Japanese parted into words by hand
SENTENCES = """
Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi hanno ragione e coscienza
All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience
Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison
Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt
Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler
Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi
Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью
Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα
सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है
மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர். அவர்கள் மதிப்பிலும் உரிமைகளிலும் சமமானவர்கள்
সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে। তাঁদের বিবেক এবং বুদ্ধি আছে
يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق، وقد وهبوا عقلًا وضميرًا
تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند
כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם
มนุษย์ ทั้งหลาย เกิด มา มี อิสระ และ เสมอภาค กัน ใน เกียรติศักดิ์ และ สิทธิ
人 人 生 而 自由 ， 在 尊严 和 权利 上 一律 平等 。 他们 赋有 理性 和 良心
すべて の 人間 は 、 生まれながら に して 自由 で あり 、 かつ 、 尊厳 と 権利 と に ついて 平等 で ある
모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다
""".strip().splitlines()

_PATH = re.compile(r'<PATH id="\(s-(\d+)\)"[^>]*>\n(.*?)</PATH>', re.DOTALL)
_STEP = re.compile(r'([CSID]),(?:"([^"]*)")?,(?:"([^"]*)")?')
OPERATIONS = {"C": "equal", "S": "substitute", "I": "insert", "D": "delete"}


def draw_references(size: int, seed: int) -> list[str]:
    """Stretches of the sentences, some of them empty."""
    generator = random.Random(seed)
    references = []
    for _ in range(size):
        words = generator.choice(SENTENCES).split()
        start = generator.randrange(len(words))
        references.append(" ".join((words * 3)[start : start + generator.randint(0, 2 * len(words))]))
    return references


def draw_hypotheses(
    references: Sequence[str], seed: int, rates: Sequence[float] = (0, 0.05, 0.1, 0.2, 0.4, 0.8)
) -> list[str]:
    """The references with errors, at a rate drawn for each; some become empty, some loop.

    Words are dropped, swapped with another, doubled, inserted, cut in two and changed by a letter or in
    their case.
    """
    generator = random.Random(seed)
    hypotheses = []
    for reference in references:
        words = reference.split()
        known = words or generator.choice(SENTENCES).split()
        rate = generator.choice(rates)
        heard = [part for word in words for part in _mishear(word, known, rate, generator)]
        if generator.random() < 0.1 * rate:
            heard = []
        if generator.random() < 0.1 * rate:
            heard += generator.choices(known, k=2) * generator.randint(1, 20)
        hypotheses.append(" ".join(heard))
    return hypotheses


def _mishear(word: str, words: Sequence[str], rate: float, generator: random.Random) -> list[str]:
    if generator.random() >= rate:
        return [word]
    place = generator.randrange(len(word))
    return generator.choice(
        [
            [],
            [generator.choice(words)],
            [word, word],
            [word, *generator.choices(words, k=generator.randint(1, 3))],
            [word[:place] + generator.choice(generator.choice(words)) + word[place + 1 :]],
            [word.swapcase()],
            [word[: place + 1], word[place:]],
        ]
    )


def align_with_sclite(
    sctk: str, references: Sequence[str], hypotheses: Sequence[str], folder: Path, title: str
) -> Path:
    """Have sclite align words as they are, in UTF-8; the path of its SGML file."""
    texts = {"ref": references, title: hypotheses}
    for name, lines in texts.items():
        rows = [f"{' '.join(line.split())} (s-{number})\n" for number, line in enumerate(lines)]
        (folder / f"{name}.trn").write_text("".join(rows), encoding="utf-8")
    files = ["-r", "ref.trn", "trn", "-h", f"{title}.trn", "trn", title]
    options = ["-i", "spu_id", "-e", "utf-8", "-s", "-o", "sgml", "-O", ".", "-n", title]
    subprocess.run([sctk, "sclite", *files, *options], cwd=folder, check=True, capture_output=True)
    return folder / f"{title}.sgml"


def write_alignments(alignments: Sequence[Sequence[tuple]], path: Path) -> Path:
    """Alignments made elsewhere, in sclite's SGML form, for sc_stats."""
    codes = {operation: code for code, operation in OPERATIONS.items()}
    lines = [
        f'<SYSTEM title="{path.stem}" ref_fname="r" hyp_fname="h" creation_date="" format="2.4" '
        'frag_corr="FALSE" opt_del="FALSE" weight_ali="FALSE" weight_filename="">',
        '<SPEAKER id="s">',
    ]
    for number, edits in enumerate(alignments):
        lines.append(f'<PATH id="(s-{number})" word_cnt="{len(edits)}" sequence="{number}" case_sense="1">')
        lines.append(":".join(f"{codes[op]},{_quote(said)},{_quote(heard)}" for op, said, heard in edits))
        lines.append("</PATH>")
    path.write_text("\n".join([*lines, "</SPEAKER>", "</SYSTEM>", ""]), encoding="utf-8")
    return path


def _quote(word: str | None) -> str:
    return "" if word is None else f'"{word}"'


def read_alignments(path: Path) -> list[list[tuple[str, str | None, str | None]]]:
    """What sclite aligned: operation, reference word and hypothesis word, in the order of the utterances."""
    paths = {int(number): body for number, body in _PATH.findall(path.read_text(encoding="utf-8"))}
    return [
        [
            (OPERATIONS[code], said or None, heard or None)
            for code, said, heard in _STEP.findall(paths[number])
        ]
        for number in range(len(paths))
    ]


def compare_with_sc_stats(sctk: str, first: Path, second: Path) -> dict[str, float]:
    """What sc_stats prints of MAPSSWE: the fields of a SegmentTest, and is_different.

    It also writes a file for each system into its working directory, here the folder of the first.
    """
    alignments = first.read_bytes() + second.read_bytes()
    command = [sctk, "sc_stats", "-p", "-t", "mapsswe", "-n", "-"]
    printed = [
        subprocess.run(
            [*command, option], input=alignments, cwd=first.parent, check=True, capture_output=True
        ).stdout.decode()
        for option in ("-v", "-u")
    ]
    found = re.search(
        r"# segs: (\d+)\).*\(mean: *(\S+)\) \(std dev: *(\S+)\) \(Z Stat: *(\S+)\) \(Stat Diff: (\w+)\)",
        printed[0],
    )
    verdict = re.search(r"\| +MP +\|\|[^|]*\|[^|]*\| +\S+ +(<?)(\d\.\d+)", printed[1])
    assert found is not None and verdict is not None, printed
    names = "num_segments", "mean", "standard_deviation", "z"
    figures = dict(zip(names, map(float, found.groups()), strict=False))
    below_table = verdict[1] == "<"
    return figures | {
        "is_different": found[5] == "Yes",
        "p_value": 0.0 if below_table else float(verdict[2]),
    }


def count_edits(alignment: Sequence[Edit]) -> ErrorCounts:
    """The errors of one alignment."""
    kinds = Counter(edit.operation for edit in alignment)
    substitutions, insertions, deletions = kinds["substitute"], kinds["insert"], kinds["delete"]
    return ErrorCounts(substitutions, insertions, deletions, len(alignment) - insertions)
