/* sqlite.c - SQLite in its multi-thread and serialized modes.
 *
 *   sqlite FILE THREADS ROWS
 *
 * First every thread has a connection of its own (WAL, waiting for locks), then all share
 * one in serialized mode. Each inserts ROWS rows in small transactions and reads them back.
 * At the end the database has to be whole and every row there once. */

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

static const char *path;
static int rows;
static sqlite3 *common;

static void must(int rc, sqlite3 *db, const char *what)
{
    if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE)
        return;
    printf("%s: %s\n", what, sqlite3_errmsg(db));
    exit(1);
}

static sqlite3 *open_db(int flags)
{
    sqlite3 *db;

    must(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | flags,
                         NULL),
         db, "open");
    sqlite3_busy_timeout(db, 60000);
    must(sqlite3_exec(db, "pragma journal_mode=wal; pragma synchronous=normal", NULL,
                      NULL, NULL),
         db, "pragma");
    return db;
}

static void *work(void *arg)
{
    sqlite3 *db = common ? common : open_db(SQLITE_OPEN_NOMUTEX);
    long me = (long)arg, sum = 0;
    sqlite3_stmt *st;
    char sql[256];

    for (int i = 0; i < rows; i += 10) {
        int n = snprintf(sql, sizeof(sql), "insert into t values ");

        for (int k = i; k < i + 10; k++)
            n += snprintf(sql + n, sizeof(sql) - (size_t)n, "%s(%ld,%d)",
                          k > i ? "," : "", me, k);
        must(sqlite3_exec(db, sql, NULL, NULL, NULL), db, "insert");
    }
    snprintf(sql, sizeof(sql), "select i from t where owner=%ld", me);
    must(sqlite3_prepare_v2(db, sql, -1, &st, NULL), db, "prepare");
    while (sqlite3_step(st) == SQLITE_ROW)
        sum += sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    if (db != common)
        sqlite3_close(db);
    return (void *)sum;
}

static int show(void *title, int n, char **v, char **names)
{
    (void)names;
    for (int i = 0; i < n; i++)
        printf("%s%s%s", i ? " " : (char *)title, v[i], i == n - 1 ? "\n" : "");
    return 0;
}

static void phase(long first, int n)
{
    pthread_t t[64];
    long sum = 0;

    for (long i = 0; i < n; i++)
        if (pthread_create(&t[i], NULL, work, (void *)(first + i)) != 0)
            exit(3);
    for (int i = 0; i < n; i++) {
        void *one;

        pthread_join(t[i], &one);
        sum += (long)one;
    }
    printf("read back %ld\n", sum);
}

int main(int argc, char **argv)
{
    int n = argc > 2 ? atoi(argv[2]) : 8;
    sqlite3 *db;

    path = argc > 1 ? argv[1] : "test.db";
    rows = argc > 3 ? atoi(argv[3]) : 500;
    if (n > 64)
        return 2;
    db = open_db(SQLITE_OPEN_FULLMUTEX);
    must(sqlite3_exec(db, "create table t(owner int, i int)", NULL, NULL, NULL), db,
         "create");
    phase(0, n);
    common = db;
    phase(n, n);
    sqlite3_exec(db, "pragma integrity_check", show, "whole: ", NULL);
    sqlite3_exec(db, "select count(*), count(distinct owner*1000000+i), sum(i) from t",
                 show, "rows: ", NULL);
    return sqlite3_close(db) != SQLITE_OK;
}
