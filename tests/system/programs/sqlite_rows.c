/* Executes the SQL that it reads from standard input on the database that its argument names; prints the rows. */
#include <sqlite3.h>
#include <stdio.h>

static int row(void *unused, int count, char **values, char **names) {
    (void)unused, (void)names;
    for (int n = 0; n < count; n++) printf("%s%s", n ? "|" : "", values[n] ? values[n] : "NULL");
    printf("\n");
    return 0;
}

int main(int count, char **words) {
    static char sql[1 << 16];
    sql[fread(sql, 1, sizeof sql - 1, stdin)] = 0;
    sqlite3 *database;
    char *error = NULL;
    int failed = count != 2 || sqlite3_open(words[1], &database) || sqlite3_exec(database, sql, row, NULL, &error);
    if (failed) fprintf(stderr, "sqlite: %s\n", error ? error : "no database");
    return sqlite3_close(database) || failed;
}
