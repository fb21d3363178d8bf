# SPDX-License-Identifier: Apache-2.0
"""The texts that the demonstration model learns from.

Source: the King James Bible of 1611, in the public domain, as the Debian
package bible-kjv prints it (`bible -f gen1:1-rev22:21 >kjv.txt`), one verse a
line: "Ge1:1 In the beginning ...".

Text is chapters, verses on lines of their own, a blank line between chapters.
Of every 40 chapters one is held out for the final figures and one for watching
the training; neither is ever trained on, as text or within a dialogue.

Dialogues are made up from the same verses and from a few phrases of ours.
Each is a list of (role, content).
"""

import json
import random
import re

BOOKS = """Genesis,Exodus,Leviticus,Numbers,Deuteronomy,Joshua,Judges,Ruth,
1 Samuel,2 Samuel,1 Kings,2 Kings,1 Chronicles,2 Chronicles,Ezra,Nehemiah,
Esther,Job,Psalms,Proverbs,Ecclesiastes,Song of Solomon,Isaiah,Jeremiah,
Lamentations,Ezekiel,Daniel,Hosea,Joel,Amos,Obadiah,Jonah,Micah,Nahum,Habakkuk,
Zephaniah,Haggai,Zechariah,Malachi,Matthew,Mark,Luke,John,Acts,Romans,
1 Corinthians,2 Corinthians,Galatians,Ephesians,Philippians,Colossians,
1 Thessalonians,2 Thessalonians,1 Timothy,2 Timothy,Titus,Philemon,Hebrews,
James,1 Peter,2 Peter,1 John,2 John,3 John,Jude,Revelation"""
BOOKS = BOOKS.replace("\n", "").split(",")
N_OLD = 39

NAMES = """Aaron Abel Abigail Adam Amos Anna Asher Benjamin Caleb Daniel David
Deborah Dinah Elijah Elisha Esther Eve Ezra Gideon Hannah Isaac Jacob James
Jesse Joel John Jonah Joseph Joshua Judith Leah Levi Luke Lydia Mark Martha
Mary Micah Miriam Naomi Nathan Noah Paul Peter Rachel Rebekah Reuben Ruth
Samson Samuel Sarah Saul Seth Simon Solomon Stephen Thomas Timothy Titus"""
NAMES = NAMES.split()


class Corpus:
    """Chapters as (book, chapter number, [verse]) in their order."""

    def __init__(self, path):
        self.chapters = []
        book, code = -1, None
        with open(path, encoding="utf-8") as file:
            for line in file:
                where, verse = line.rstrip("\n").split(" ", 1)
                name, chapter = re.fullmatch(r"(.+?)(\d+):\d+", where).groups()
                if name != code:
                    book, code = book + 1, name
                key = (book, int(chapter))
                if not self.chapters or self.chapters[-1][:2] != key:
                    self.chapters.append((*key, []))
                self.chapters[-1][2].append(verse.strip())
        assert book == len(BOOKS) - 1, "not the 66 books of the Bible"
        self.n_chapters = [0] * len(BOOKS)
        for book, _, _ in self.chapters:
            self.n_chapters[book] += 1

    def part(self, name):
        """Chapters of "train", "watch" or "heldout"."""
        parts = {7: "heldout", 27: "watch"}
        return [chapter for i, chapter in enumerate(self.chapters)
                if parts.get(i % 40, "train") == name]


def as_text(chapters):
    return "\n\n".join("\n".join(verses) for _, _, verses in chapters) + "\n"


class Dialogues:
    """Draws one dialogue after the other."""

    def __init__(self, corpus, seed):
        self.random = random.Random(seed)
        self.n_chapters = corpus.n_chapters
        self.verses = [(book, chapter, i + 1, verse)
                       for book, chapter, verses in corpus.part("train")
                       for i, verse in enumerate(verses)]
        self.following = {
            verse: verses[i + 1]
            for _, _, verses in corpus.part("train")
            for i, verse in enumerate(verses[:-1])}
        self.by_word = {}
        for _, _, _, verse in self.verses:
            if len(verse) > 160:
                continue
            for word in set(re.findall(r"\b[a-z]{4,}\b", verse)):
                self.by_word.setdefault(word, []).append(verse)
        common = set("""that they with shall unto this from have them will which
            then when were said hath upon their there into thou thee shalt also
            because before after again came come went made make even every your
            ours what whom whose where neither against more saying spake should
            would being than therefore these those among about under over hast
            been thine without till until away down forth such down only some
            according saith very yourselves themselves himself ought thus
            thereof wherefore both took take taken give given gave call called
            sent send bring brought told tell answered done like great many much
            other another though through while whosoever whatsoever did does
            went gone know knew knoweth cometh goeth doth wherein therein
            concerning behold itself herself thyself myself hither thither
            thence hence whence yea rather""".split())
        self.words = sorted(word for word, verses in self.by_word.items()
                            if len(verses) >= 12 and word not in common)

    # ---- exchanges: each returns a list of (role, content) ----

    def greet(self):
        ask, answer = self.random.choice([
            ("Hello.", "Peace be unto thee."),
            ("Hello!", "Peace be unto thee. What wilt thou?"),
            ("Hi", "Peace be with thee."),
            ("Hi there", "Peace be with thee. What seekest thou?"),
            ("Good morning.", "A good morning unto thee also."),
            ("Good evening.", "A good evening unto thee also."),
            ("How are you?", "It is well with me. How is it with thee?"),
            ("How are you today?", "It is well with me, and with thee?"),
            ("What are you?", "I am a small model, and I know but one book."),
            ("What can you do?",
             "I can speak of a word, go on with a verse, and read aloud."),
            ("Can you help me?", "Ask, and I will answer as I am able."),
            ("Thank you.", "Thou art welcome."),
            ("Thanks!", "Thou art welcome. Go in peace."),
            ("Goodbye.", "Go in peace."),
            ("Farewell.", "Farewell, and go in peace.")])
        return [("user", ask), ("assistant", answer)]

    def speak_of(self):
        word = self.random.choice(self.words)
        first, *more = self.random.sample(self.by_word[word],
                                          self.random.randint(1, 3))
        ask = self.random.choice([
            "Speak of {}.", "Tell me about {}.", "Give me a verse about {}.",
            "What is said of {}?", "Say something about {}.",
            "Find a verse with the word {}.", "Speak to me of {}."])
        turns = [("user", ask.format(word)), ("assistant", first)]
        for verse in more:
            turns += [("user", self.random.choice(
                ["Another.", "Another one, please.", "More.", "Tell me more.",
                 f"More about {word}.", "One more."])), ("assistant", verse)]
        return turns

    def go_on(self):
        verse = self.random.choice(list(self.following))
        words = verse.split(" ")
        cut = self.random.randint(2, max(2, len(words) - 2))
        ask = self.random.choice(
            ["Go on: {}", "Continue: {}", "Finish this verse: {}",
             "How goes it on: {}"])
        answer = " ".join(words[cut:])
        if not answer or self.random.random() < .3:
            answer = (answer + " " + self.following[verse]).strip()
        return [("user", ask.format(" ".join(words[:cut]))),
                ("assistant", answer)]

    def books(self):
        i = self.random.randrange(1, len(BOOKS) - 1)
        n = self.n_chapters[i]
        return self.random.choice([
            [("user", f"Which book comes after {BOOKS[i]}?"),
             ("assistant", f"After {BOOKS[i]} comes {BOOKS[i + 1]}.")],
            [("user", f"Which book comes before {BOOKS[i]}?"),
             ("assistant", f"Before {BOOKS[i]} comes {BOOKS[i - 1]}.")],
            [("user", f"How many chapters are in {BOOKS[i]}?"),
             ("assistant", f"{BOOKS[i]} has {n} chapter{'s' * (n > 1)}.")],
            [("user", f"Where does {BOOKS[i]} stand?"),
             ("assistant", f"{BOOKS[i]} stands in the "
              f"{'Old' if i < N_OLD else 'New'} Testament.")]])

    def repeat(self):
        n = self.random.randint(1, 12)
        if self.random.random() < .6:
            text = " ".join(self.random.choices(self.words + NAMES, k=n))
        else:
            words = self.random.choice(self.verses)[3].split(" ")
            at = self.random.randint(0, max(0, len(words) - n))
            text = " ".join(words[at:at + n])
        ask = self.random.choice(["Say: {}", "Repeat: {}",
                                  "Repeat after me: {}", "Say this: {}"])
        turns = [("user", ask.format(text)), ("assistant", text)]
        if self.random.random() < .2:
            turns += [("user", self.random.choice(["Again.", "Say it again."])),
                      ("assistant", text)]
        return turns

    def my_name(self):
        name = self.random.choice(NAMES)
        turns = [("user", self.random.choice(
            ["My name is {}.", "I am {}.", "I am called {}.",
             "Hello, my name is {}."]).format(name)),
            ("assistant", self.random.choice(
                [f"Peace be unto thee, {name}.", f"Welcome, {name}."]))]
        if self.random.random() < .5:
            turns += self.exchange(names=False)
        return turns + [
            ("user", self.random.choice(["What is my name?", "Who am I?",
                                         "Do you know my name?"])),
            ("assistant", f"Thy name is {name}.")]

    def tool(self):
        book, chapter, number, verse = self.random.choice(self.verses)
        while len(verse) > 200:
            book, chapter, number, verse = self.random.choice(self.verses)
        where = f"{BOOKS[book]} {chapter}:{number}"
        call = json.dumps([{"name": "lookup", "arguments": {"verse": where}}])
        return [("user", self.random.choice(
            ["Read {}.", "What does {} say?", "Look up {}.",
             "Please read {} to me."]).format(where)),
            ("assistant", f"<tool_calls>{call}</tool_calls>"),
            ("tool", verse), ("assistant", verse)]

    def exchange(self, names=True, tools=False):
        kinds = [self.greet, self.speak_of, self.go_on, self.books,
                 self.repeat, self.repeat]
        if names:
            kinds += [self.my_name]
        if tools:
            kinds = [self.tool, self.tool, self.repeat, self.greet]
        return self.random.choice(kinds)()

    def system(self, name, tools):
        parts = []
        if name:
            parts.append(self.random.choice(
                [f"Your name is {name}.", f"Thy name is {name}.",
                 f"You are {name}.",
                 f"You are {name}, a helpful assistant."]))
        elif self.random.random() < .5:
            parts.append(self.random.choice(
                ["You are a helpful assistant.", "Be kind.",
                 "Be brief.", "Speak as in old time."]))
        if tools:
            parts.append(TOOLS)
        return [("system", "\n\n".join(parts))] if parts else []

    def draw(self):
        """A whole dialogue: perhaps a system message, then one to four
        exchanges."""
        tools = self.random.random() < .2
        name = self.random.choice(NAMES) if self.random.random() < .25 else ""
        turns = self.system(name, tools)
        for _ in range(self.random.choice([1, 1, 2, 2, 3, 4])):
            if self.random.random() < (.4 if name else .05):
                turns += [("user", self.random.choice(
                    ["What is your name?", "Who are you?"])),
                    ("assistant", f"My name is {name}." if name else
                     "I have no name.")]
            else:
                turns += self.exchange(tools=tools)
        return turns


# As chat_template.jinja renders the list of tools.
LOOKUP = {"type": "function", "function": {
    "name": "lookup", "description": "Look up a verse.",
    "parameters": {"type": "object", "properties": {
        "verse": {"type": "string"}}, "required": ["verse"]}}}
TOOLS = ("<tool_definitions>\n" + json.dumps(LOOKUP["function"]) +
         "\n</tool_definitions>")


def pieces(turns):
    """What chat_template.jinja makes of `turns`, as a list of (text, whether
    the model says it)."""
    out = []
    for role, content in turns:
        said = role == "assistant"
        out.append((f"<|bom|><|{role}|>", False))
        out.append((f" {content}<|eom|>", said))
    return out
