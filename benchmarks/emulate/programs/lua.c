/* A Lua program of tables, strings and arithmetic, N rounds: lua N */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

static const char *source =
    "local rounds = ... local sum = 0 "
    "for round = 1, rounds do "
    "  local t = {} for i = 1, 20000 do t[i] = (i * 7919) % 10007 end "
    "  table.sort(t) local words = {} for i = 1, 2000 do words[#words + 1] = string.format('%d', t[i * 10]) end "
    "  sum = sum + #table.concat(words, ',') + t[100] "
    "end print(sum)";

int main(int count, char **words) {
    lua_State *state = luaL_newstate();
    luaL_openlibs(state);
    int failed = luaL_loadstring(state, source);
    lua_pushinteger(state, count > 1 ? atoi(words[1]) : 1);
    if (failed || lua_pcall(state, 1, 0, 0)) fprintf(stderr, "%s\n", lua_tostring(state, -1));
    lua_close(state);
    return failed;
}
