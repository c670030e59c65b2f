/* One selector (a subflow), one actor (window cap). */
#include "actors.h"
#include "selectors.h"

struct counters {
  u64 seen, matched, capped;
};
struct map_definition SECTION("maps") counters = {MAP_PER_CPU_ARRAY, 4, sizeof(struct counters), 1};
/* Parameters change while the program runs. */
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
  if (!is_subflow(&p)) return PROCEED;
  count->matched++;
  u64 difference = 0;
  cap_window(&p, params.window, params.flip, &difference);
  count->capped++;
  fix_checksum(ctx, &p, difference);
  return PROCEED;
}
