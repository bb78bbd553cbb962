/* A Lua interpreter: runs the script that its first argument names; the others are the script's. */
#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
#include <lua5.4/lualib.h>
#include <stdio.h>

int main(int count, char **words) {
    lua_State *state = luaL_newstate();
    luaL_openlibs(state);
    lua_newtable(state);
    for (int n = 2; n < count; n++) {
        lua_pushstring(state, words[n]);
        lua_rawseti(state, -2, n - 1);
    }
    lua_setglobal(state, "arg");
    int failed = luaL_dofile(state, words[1]);
    if (failed) fprintf(stderr, "lua: %s\n", lua_tostring(state, -1));
    lua_close(state);
    return failed ? 1 : 0;
}
