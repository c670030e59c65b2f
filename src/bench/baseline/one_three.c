/* One selector (destination prefix), three actors (window cap, ADD_ADDR removed, flows recorded). */
#include "actors.h"
#include "selectors.h"

struct counters {
  u64 seen, matched, capped, blocked, recorded, no_room;
};
struct map_definition SECTION("maps") counters = {MAP_PER_CPU_ARRAY, 4, sizeof(struct counters), 1};
struct {
  u64 window, flip;
} volatile params;

SECTION(HOOK) int chain(context *ctx) {
  u32 zero = 0;
  struct counters *count = map_lookup(&counters, &zero);
  if (!count) return PROCEED;
  struct packet p;
  if (!find_tcp(ctx, &p)) return PROCEED;
  count->seen++;
  if (!to_prefix(&p)) return PROCEED;
  count->matched++;
  u64 difference = 0;
  cap_window(&p, params.window, params.flip, &difference);
  count->capped++;
  struct announcements found = remove_add_addr(ctx, &p, &difference);
  count->blocked += found.removed;
  if (record(ctx, &p)) count->recorded++;
  else count->no_room++;
  fix_checksum(ctx, &p, difference);
  return verdict_of(found);
}
