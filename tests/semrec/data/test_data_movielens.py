from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from helpers.import_cases import NOW_S, events_in, items_in, manifest, movielens, quarantined, rows_of, write
from semrec.contracts import text_hash
from semrec.data import import_movielens, spill
from semrec.data.tags import most_used
from semrec.errors import EmptyResultError, InputError, TooManyRejectedError
from semrec.workspace.folder import Workspace


def test_ml_latest_small_has_the_published_counts(workspace: Workspace, shared_data: Path) -> None:
    report = import_movielens(workspace, shared_data / "ml-latest-small", max_rejected=0)
    assert (report.num_items, report.num_users, report.num_interactions) == (9_742, 610, 100_836)
    assert report.num_read == {"items": 9_742, "interactions": 100_836, "tags": 3_683}
    assert (report.num_rejected, report.num_repeats, report.num_listed_users) == (0, 0, None)
    catalogue, interactions = manifest(workspace, "catalogue"), manifest(workspace, "interactions")
    assert (catalogue["num_items"], catalogue["num_parts"]) == (9_742, 8)
    assert (interactions["num_rows"], interactions["num_users"], interactions["num_buckets"]) == (100_836, 610, 4)
    assert (interactions["repeats"], interactions["neutral_value"]) == ("latest", 2.5)
    assert interactions["newest_timestamp"] == 1_537_799_250
    assert items_in(workspace)["1"]["text"] == (
        "Toy Story (1995). Genres: Adventure, Animation, Children, Comedy, Fantasy. Tags: pixar, fun."
    )
    # Spilling to disk for lack of memory changes nothing.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "BUFFER_BYTES", 200_000)
        import_movielens(workspace, shared_data / "ml-latest-small")
    assert manifest(workspace, "catalogue") == catalogue
    assert manifest(workspace, "interactions") == interactions


def test_ml_latest_2023_part_has_the_counts_of_its_readme(workspace: Workspace, shared_data: Path) -> None:
    report = import_movielens(workspace, shared_data / "ml-latest-2023-part")
    assert (report.num_items, report.num_users, report.num_interactions) == (86_537, 2_148, 206_423)
    assert report.num_read == {"items": 86_537, "interactions": 206_423, "tags": 60_084}
    # One tag of the source is a lone no-break space.
    assert report.rejected == {"tags": {"missing tag": 1}}
    assert quarantined(workspace, "tags") == [("tags.csv", 46_468, "missing tag")]
    assert manifest(workspace, "catalogue")["num_parts"] == 64


def test_a_movie_becomes_an_item_with_genres_year_and_tags(workspace: Workspace, tmp_path: Path) -> None:
    tags = "userId,movieId,tag,timestamp\n1,1,Fun,5\n2,1,pixar,5\n3,1,PIXAR ,5\n3,1,pixar,6\n9,1,  two  words,5\n"
    movies = (
        "movieId,title,genres,extra\n"
        '1,"Toy, Story (1995) ",Adventure|Animation,x\n'
        "3,Odd (2006–2007),(no genres listed),y\n"
        "4,Plain,Drama,\n"
    )
    ratings = "timestamp,rating,movieId,userId\n100,4.0,1,7\n"
    import_movielens(workspace, movielens(tmp_path / "ml", movies=movies, ratings=ratings, tags=tags))
    items = items_in(workspace)
    text = "Toy, Story (1995). Genres: Adventure, Animation. Tags: pixar, fun, two words."
    assert items["1"] == {
        "item_id": "1",
        "title": "Toy, Story (1995)",
        "text": text,
        "text_hash": text_hash(text),
        "attributes": [("genre", ["Adventure", "Animation"]), ("year", ["1995"])],
        "content": None,
    }
    assert (items["3"]["text"], items["3"]["attributes"]) == ("Odd (2006–2007).", [("year", ["2006"])])
    assert (items["4"]["text"], items["4"]["attributes"]) == ("Plain. Genres: Drama.", [("genre", ["Drama"])])
    assert events_in(workspace) == [("7", "1", 4.0, 100)]


def test_tags_are_ordered_by_users_then_text_and_at_most_twenty() -> None:
    users = {f"t{n:02d}": {"u"} for n in range(30)} | {"z": {"u", "v"}}
    assert most_used(users) == ["z", *(f"t{n:02d}" for n in range(19))]


def test_the_dat_layout_in_latin_1_with_users(workspace: Workspace, tmp_path: Path) -> None:
    write(
        tmp_path / "ml-1m" / "movies.dat",
        "1::Star Wars: IV (1977)::Action|Sci-Fi\r\n2::Misérables, Les (1995)::Drama\r\n".encode("latin-1"),
    )
    write(tmp_path / "ml-1m" / "ratings.dat", "1::1::5::978300760\n1::2::3::978302109\n2::2::4.5::978301968\n")
    write(tmp_path / "ml-1m" / "users.dat", "1::F::1::10::48067\n2::M::56::16::70072\n3::M::25::15::55117\n")
    report = import_movielens(workspace, tmp_path)  # the folder above is fine as well
    assert (report.num_items, report.num_users, report.num_interactions, report.num_listed_users) == (2, 2, 3, 3)
    assert items_in(workspace)["2"]["title"] == "Misérables, Les (1995)"
    assert items_in(workspace)["1"]["text"] == "Star Wars: IV (1977). Genres: Action, Sci-Fi."
    assert events_in(workspace)[-1] == ("2", "2", 4.5, 978301968)
    users = {row["user_id"]: dict(row["attributes"]) for row in rows_of(workspace, "users")}
    assert users["1"] == {"age": ["1"], "gender": ["F"], "occupation": ["10"]}
    assert sorted(users) == ["1", "2", "3"]
    # A folder without users.dat, imported in its place, leaves no users behind: only who says so loses them.
    other = movielens(tmp_path / "other")
    with pytest.raises(EmptyResultError, match="3 rows of the users"):
        import_movielens(workspace, other)
    assert len(rows_of(workspace, "users")) == 3
    import_movielens(workspace, other, allow_empty=True)
    assert not workspace.storage.exists("users/manifest.json")


def test_the_dat_layout_in_utf_8_is_not_taken_for_latin_1(workspace: Workspace, tmp_path: Path) -> None:
    write(tmp_path / "movies.dat", "1::Cité (1995)::Drama\n")
    write(tmp_path / "ratings.dat", b"1::1::5::978300760\n1::\xff::5::978300760\n1::1::5\n")
    with pytest.raises(TooManyRejectedError):
        import_movielens(workspace, tmp_path)
    import_movielens(workspace, tmp_path, max_rejected=1)
    assert items_in(workspace)["1"]["title"] == "Cité (1995)"
    assert quarantined(workspace, "interactions") == [
        ("ratings.dat", 2, "bad UTF-8: byte 0xff"),
        ("ratings.dat", 3, "ragged line: 3 fields, expected 4"),
    ]


def test_gzip_is_unpacked(workspace: Workspace, tmp_path: Path) -> None:
    folder = movielens(tmp_path / "ml")
    for name in ("movies", "ratings"):
        plain = folder / f"{name}.csv"
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    assert import_movielens(workspace, folder).num_interactions == 4


@pytest.mark.parametrize("missing", ["movies.csv", "ratings.csv"])
def test_a_missing_file_is_named(workspace: Workspace, tmp_path: Path, missing: str) -> None:
    folder = movielens(tmp_path / "ml")
    (folder / missing).unlink()
    with pytest.raises(InputError, match=rf"no {missing} in "):
        import_movielens(workspace, folder)


def test_a_missing_column_lists_those_there(workspace: Workspace, tmp_path: Path) -> None:
    folder = movielens(tmp_path / "ml", ratings="userId,movieId,stars,timestamp\n7,1,4.0,100\n")
    with pytest.raises(InputError, match=r"'rating' in ratings.csv.*'userId', 'movieId', 'stars', 'timestamp'"):
        import_movielens(workspace, folder)
    assert not workspace.storage.exists("catalogue/manifest.json")


def test_importing_again_or_in_another_order_gives_the_same_fingerprints(workspace: Workspace, tmp_path: Path) -> None:
    users = [f"{n % 37},{n % 3 + 1},{n % 10 / 2},{1000 - n}" for n in range(400)]
    tags = [f"{n},{n % 3 + 1},t{n % 4},9" for n in range(60)]
    prints = []
    for seed in range(3):
        random.Random(seed).shuffle(users)
        random.Random(seed).shuffle(tags)
        doubled = users + users[:13]
        folder = movielens(
            tmp_path / f"ml{seed}",
            ratings="userId,movieId,rating,timestamp\n" + "\n".join(doubled) + "\n",
            tags="userId,movieId,tag,timestamp\n" + "\n".join(tags) + "\n",
        )
        report = import_movielens(workspace, folder, mode="append" if seed == 2 else "replace")
        # An append meets all 400 that are stored besides the 13 of its own.
        assert (report.num_interactions, report.num_users) == (400, 37)
        assert report.num_repeats == (413 if seed == 2 else 13)
        prints.append([manifest(workspace, kind)["fingerprint"] for kind in ("catalogue", "interactions")])
    assert prints[0] == prints[1] == prints[2]


def test_too_many_bad_rows_leave_the_earlier_import_live(workspace: Workspace, tmp_path: Path) -> None:
    import_movielens(workspace, movielens(tmp_path / "good"))
    before = [manifest(workspace, kind) for kind in ("catalogue", "interactions")]
    bad = movielens(
        tmp_path / "bad",
        movies="movieId,title,genres\n1,Other (1999),Drama\n",
        ratings="userId,movieId,rating,timestamp\n7,1,4.0,100\n7,99,4.0,100\n7,1,x,100\n",
    )
    with pytest.raises(TooManyRejectedError, match=r"2 of 3 rows rejected") as caught:
        import_movielens(workspace, bad, max_rejected=0.5)
    assert "quarantine/import/interactions-" in caught.value.remedy
    assert [manifest(workspace, kind) for kind in ("catalogue", "interactions")] == before
    assert quarantined(workspace, "interactions") == [
        ("ratings.csv", 3, "unknown item: movieId = '99'"),
        ("ratings.csv", 4, "non-numeric value: rating = 'x'"),
    ]
    assert import_movielens(workspace, bad, max_rejected=0.67).num_interactions == 1


def test_movies_and_tags_that_cannot_be_used_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    folder = movielens(
        tmp_path / "ml",
        movies="movieId,title,genres\n1,First (1990),Drama\n\n,No id,Drama\n2, ,Drama\n1,Second (1991),Drama\n3,Odd,\n",
        tags="userId,movieId,tag,timestamp\n1,1,good,5\n1,9,lost,5\n,1,anonymous,5\n1,1,  ,5\n",
        ratings="userId,movieId,rating,timestamp\n7,1,4.0,100\n",
    )
    report = import_movielens(workspace, folder, max_rejected=1)
    assert items_in(workspace)["1"]["text"] == "First (1990). Genres: Drama. Tags: good."
    assert sorted(items_in(workspace)) == ["1", "3"]
    assert sorted(quarantined(workspace, "items")) == [
        ("movies.csv", 4, "missing id"),
        ("movies.csv", 5, "no title and no text"),
        ("movies.csv", 6, "duplicate id: item_id = '1'"),
    ]
    assert sorted(quarantined(workspace, "tags")) == [
        ("tags.csv", 3, "unknown item: movieId = '9'"),
        ("tags.csv", 4, "missing id"),
        ("tags.csv", 5, "missing tag"),
    ]
    assert report.num_rejected == 6
    assert str(report).splitlines() == [
        "2 items, 1 interactions, 1 users with interactions",
        "items: 5 rows read, rejected 1 missing id, 1 no title and no text, 1 duplicate id",
        "interactions: 1 rows read",
        "tags: 4 rows read, rejected 1 missing id, 1 missing tag, 1 unknown item",
        "rejected rows: quarantine/import/items-*.parquet",
        "rejected rows: quarantine/import/tags-*.parquet",
        "  movies.csv, line 4: missing id: ,No id,No id. Genres: Drama.",
        "  movies.csv, line 5: no title and no text: 2,,",
        "  movies.csv, line 6: duplicate id: item_id = '1': 1,Second (1991)",
        "  tags.csv, line 4: missing id: ,1,anonymous,5",
        "  tags.csv, line 5: missing tag: 1,1,  ,5",
        "  tags.csv, line 3: unknown item: movieId = '9': 1,9,lost",
    ]


def test_a_rating_may_lie_a_day_ahead_but_not_more(workspace: Workspace, tmp_path: Path) -> None:
    rows = f"7,1,4,{NOW_S + 86_400}\n8,1,4,{NOW_S + 86_401}\n9,1,4,-1\n9,1,4,{NOW_S}000\n9,1,4,\n9,1,4,soon\n"
    folder = movielens(tmp_path / "ml", ratings="userId,movieId,rating,timestamp\n" + rows)
    import_movielens(workspace, folder, now_s=NOW_S, max_rejected=1)
    assert events_in(workspace) == [("7", "1", 4.0, NOW_S + 86_400)]
    after = "s is after 2023-11-15 22:13:20 UTC"
    assert quarantined(workspace, "interactions") == [
        ("ratings.csv", 3, f"impossible time: 1700086401 {after}"),
        ("ratings.csv", 4, "impossible time: -1 s is before 1970"),
        ("ratings.csv", 5, f"impossible time: 1700000000000 {after}; in milliseconds? Divide by 1000"),
        ("ratings.csv", 6, "bad time: timestamp = ''"),
        ("ratings.csv", 7, "bad time: timestamp = 'soon'"),
    ]


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_max_rejected_must_be_a_share(workspace: Workspace, tmp_path: Path, share: float) -> None:
    with pytest.raises(InputError, match="max_rejected"):
        import_movielens(workspace, movielens(tmp_path / "ml"), max_rejected=share)


def test_progress_is_reported(workspace: Workspace, tmp_path: Path) -> None:
    calls: list[tuple[int, str]] = []
    import_movielens(workspace, movielens(tmp_path / "ml"), progress=lambda done, stage: calls.append((done, stage)))
    assert calls[0] == (3, "read items")
    assert calls[-1] == (4, "write interactions")
    assert len(calls) < 10
