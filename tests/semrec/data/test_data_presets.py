"""Each preset against files of its published layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.import_cases import events_in, items_in, rows_of, write
from semrec.data import PRESETS, import_preset
from semrec.errors import InputError
from semrec.workspace.folder import Workspace

FILES: dict[str, dict[str, str | bytes]] = {
    "ml-100k": {
        "u.item": "1|Misérables, Les (1995)|01-Jan-1995||http://x|0|0|1\n2|Heat (1995)|01-Jan-1995||http://y|1|0|0\n".encode(
            "latin-1"
        ),
        "u.user": "196|24|M|technician|85711\n",
        "u.data": "196\t1\t3\t881250949\n",
    },
    "goodbooks-10k": {
        "books.csv": "book_id,authors,original_publication_year,title,language_code\n1,A. Author,2008.0,The Pot,eng\n",
        "ratings.csv": "user_id,book_id,rating\n7,1,5\n",
    },
    "book-crossing": {
        "BX-Books.csv": b'"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher"\r\n'
        b'"0195153448";"The \\"Big\\" Caf\xe9 &amp; more";"M. Morford";"2002";"OUP"\r\n',
        "BX-Book-Ratings.csv": '"User-ID";"ISBN";"Book-Rating"\r\n"276725";"0195153448";"8"\r\n',
    },
    "hetrec-lastfm": {
        "artists.dat": 'id\tname\turl\tpictureURL\n1\tMALICE "M" MIZER\thttp://x\thttp://y\n',
        "user_artists.dat": "userID\tartistID\tweight\n2\t1\t13883\n",
    },
    "steam-200k": {
        "steam-200k.csv": '151603712,"The, Scrolls",purchase,1.0,0\n151603712,"The, Scrolls",play,273.0,0\n',
    },
    "amazon-2018": {
        "meta_Books.json": '{"asin": "B1", "title": "Pot &amp; Pan", "description": ["Iron."], "category": ["Home"], '
        '"brand": "Ir"}\n',
        "Movies.json": '{"reviewerID": "A1", "asin": "B1", "overall": 5.0, "unixReviewTime": 1252800000}\n',
    },
    "amazon-2023": {
        "meta_Books.jsonl": '{"parent_asin": "B1", "title": "Pot", "features": ["Iron"], "description": [], '
        '"categories": ["Home"], "store": null}\n',
        "Books.jsonl": '{"user_id": "A1", "parent_asin": "B1", "rating": 5.0, "timestamp": 1588687728923}\n',
    },
    "lightgcn": {
        "item_list.txt": "org_id remap_id\nB01 0\nB02 1\n",
        "train.txt": "0 0 1\n1 1\n2 \n",
        "test.txt": "1 0\n",
        "README.md": "",
    },
    "netflix-titles": {
        "netflix_titles.csv": "show_id,type,title,director,cast,country,date_added,release_year,rating,duration,listed_in,"
        'description\r\ns1,Movie,Ganglands,,,"France, Italy","May 1, 2021",2021,TV-MA,90 min,"Dramas, Crime","A turf war."\r\n',
    },
    "recbole-ml": {
        "ml.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n1\tToy Story\t1995\tFun Kids\n",
        "ml.user": "user_id:token\tage:token\n196\t49\n",
        "ml.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t1\t3\t881250949\n",
    },
}
TITLES = {
    "ml-100k": {"1": "Misérables, Les (1995)", "2": "Heat (1995)"},
    "goodbooks-10k": {"1": "The Pot"},
    "book-crossing": {"0195153448": 'The "Big" Café & more'},
    "hetrec-lastfm": {"1": 'MALICE "M" MIZER'},
    "steam-200k": {"The, Scrolls": "The, Scrolls"},
    "amazon-2018": {"B1": "Pot & Pan"},
    "amazon-2023": {"B1": "Pot"},
    "lightgcn": {"0": "B01", "1": "B02"},
    "netflix-titles": {"s1": "Ganglands"},
    "recbole-ml": {"1": "Toy Story"},
}
ATTRIBUTES = {
    "goodbooks-10k": [("language", ["eng"]), ("year", ["2008"])],
    "book-crossing": [("publisher", ["OUP"]), ("year", ["2002"])],
    "amazon-2018": [("brand", ["Ir"]), ("category", ["Home"])],
    "netflix-titles": [
        ("country", ["France", "Italy"]), ("genre", ["Dramas", "Crime"]), ("maturity", ["TV-MA"]), ("year", ["2021"])
    ],
    "recbole-ml": [("genre", ["Fun", "Kids"]), ("year", ["1995"])],
}  # fmt: skip
EVENTS = {
    "ml-100k": [("196", "1", 3.0, 881250949)],
    "goodbooks-10k": [("7", "1", 5.0, 0)],
    "book-crossing": [("276725", "0195153448", 8.0, 0)],
    "hetrec-lastfm": [("2", "1", 13883.0, 0)],
    "steam-200k": [("151603712", "The, Scrolls", 1.0, 0), ("151603712", "The, Scrolls", 273.0, 0)],
    "amazon-2018": [("A1", "B1", 5.0, 1252800000)],
    "amazon-2023": [("A1", "B1", 5.0, 1588687728)],
    "lightgcn": [("0", "0", 1.0, 0), ("0", "1", 1.0, 0), ("1", "0", 1.0, 0), ("1", "1", 1.0, 0)],
    "netflix-titles": None,
    "recbole-ml": [("196", "1", 3.0, 881250949)],
}


def test_every_preset_has_a_case() -> None:
    assert list(FILES) == list(TITLES) == list(EVENTS) == list(PRESETS)


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_reads_its_layout(workspace: Workspace, tmp_path: Path, name: str) -> None:
    for file, content in FILES[name].items():
        write(tmp_path / "in" / file, content)
    reports = list(import_preset(workspace, name, tmp_path / "in"))
    items = items_in(workspace)
    assert {item: row["title"] for item, row in items.items()} == TITLES[name]
    if name in ATTRIBUTES:
        assert next(iter(items.values()))["attributes"] == ATTRIBUTES[name]
    if (events := EVENTS[name]) is not None:
        assert events_in(workspace) == events
    if any(file.lower().endswith(".user") for file in FILES[name]):
        assert [row["user_id"] for row in rows_of(workspace, "users")] == ["196"]
    assert sum(report.num_rejected for report in reports) == (1 if name == "steam-200k" else 0)


def test_what_a_preset_lacks_is_said_before_anything_is_read(workspace: Workspace, tmp_path: Path) -> None:
    write(tmp_path / "in" / "books.csv", FILES["goodbooks-10k"]["books.csv"])
    with pytest.raises(InputError, match=r"no ratings\.csv in"):
        list(import_preset(workspace, "goodbooks-10k", tmp_path / "in"))
    assert not workspace.storage.exists("catalogue/manifest.json")
    with pytest.raises(InputError, match="preset 'goodbooks'; expected one of ml-100k"):
        list(import_preset(workspace, "goodbooks", tmp_path / "in"))
