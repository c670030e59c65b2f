/* Collects the credit that packets of a subflow bring along (paper 000, Listing 2). */
#include "emptcp.h"

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 1024);
  __type(key, struct credit_key);
  __type(value, s64);
} credits_map SEC(".maps");

SEC("xdp")
int collect_credit(struct xdp_md *ctx) {
  XDP_POLICY_PRE_SEC
  struct credit_key ckey;
  if (get_credit_key_xdp(&ckey, ctx)) {
    s64 credit = parse_credit(ctx);
    s64 *subflow_credits;
    subflow_credits = bpf_map_lookup_elem(&credits_map, &ckey);
    if (subflow_credits)
      __sync_fetch_and_add(subflow_credits, credit);
    else
      bpf_map_update_elem(&credits_map, &ckey, &credit, BPF_NOEXIST);
  }
  XDP_ACTOR_POST_SEC
}

/* Selects segments that carry credit. */
SEC("xdp")
int has_credit(struct xdp_md *ctx) {
  XDP_POLICY_PRE_SEC
  s64 credit = parse_credit(ctx);
  XDP_SELECTOR_POST_SEC(credit != 0)
}

/* Halves the window that the peer sees. */
SEC("xdp")
int halve_window(struct xdp_md *ctx) {
  XDP_POLICY_PRE_SEC
  struct tcphdr *tcp = get_tcphdr(ctx);
  if (tcp) set_field16(&tcp->window, __builtin_bswap16(__builtin_bswap16(tcp->window) / 2));
  XDP_ACTOR_POST_SEC
}
