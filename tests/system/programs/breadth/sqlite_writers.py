"""Processes and threads that write one SQLite database with a write-ahead log, which they share in memory."""

import multiprocessing
import random
import sqlite3
import threading


def write(key: int) -> None:
    connection = sqlite3.connect("file.db", timeout=60, isolation_level=None)
    chance = random.Random(key)  # noqa: S311  the same in both arms
    for _ in range(60):
        connection.execute("begin immediate")
        connection.execute("insert into t(key, value) values(?, ?)", (key, chance.random()))
        connection.execute("update s set n = n + 1")
        connection.execute("commit" if chance.random() < 0.9 else "rollback")
    connection.close()


def main() -> None:
    multiprocessing.set_start_method("fork")
    connection = sqlite3.connect("file.db", isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("create table t(id integer primary key, key, value)")
    connection.execute("create table s(n)")
    connection.execute("insert into s values(0)")
    connection.close()
    processes = [multiprocessing.Process(target=write, args=(key,)) for key in range(3)]
    for process in processes:
        process.start()
    threads = [threading.Thread(target=write, args=(key,)) for key in (10, 11)]
    for thread in threads:
        thread.start()
    for process in processes:
        process.join()
    for thread in threads:
        thread.join()
    connection = sqlite3.connect("file.db")
    for question in (
        "select count(*), sum(key), round(sum(value), 6) from t",
        "select n from s",
        "pragma integrity_check",
    ):
        print(connection.execute(question).fetchall())  # noqa: T201


main()
