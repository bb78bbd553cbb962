/* SQLite in memory: N thousand rows inserted, an index, a sum by groups: sqlite N */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

static int show(void *unused, int count, char **values, char **names) {
    (void)unused, (void)count, (void)names;
    printf("%s\n", values[0]);
    return 0;
}

int main(int count, char **words) {
    char text[512];
    sqlite3 *database;
    if (sqlite3_open(":memory:", &database)) return 1;
    snprintf(text, sizeof text,
             "CREATE TABLE t(a INTEGER, b TEXT);"
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
             "INSERT INTO t SELECT i * 7919 %% 10007, 'row ' || i FROM n;"
             "CREATE INDEX ta ON t(a);"
             "SELECT sum(c * a) FROM (SELECT a, count(*) AS c FROM t WHERE b LIKE '%%7%%' GROUP BY a);",
             (count > 1 ? atoi(words[1]) : 1) * 1000);
    char *wrong = NULL;
    if (sqlite3_exec(database, text, show, NULL, &wrong)) fprintf(stderr, "%s\n", wrong);
    return sqlite3_close(database);
}
