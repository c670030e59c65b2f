/* Two actors that send a subflow over another uplink (paper 000, Listing 3). */
#include "emptcp.h"

struct emptcp_parameters {
  union {
    PARAMETER(struct mac_t, mac);
    PARAMETER(u32, ifindex);
  };
};

SEC("tc")
int mac_modify(struct __sk_buff *ctx) {
  TC_POLICY_PRE_SEC
  struct mac_t new_mac;
  new_mac = PARAM.mac;
  struct ethhdr *ethdr = get_ethdr(ctx);
  modify_mac(ctx, ethdr, new_mac);
  TC_ACTOR_POST_SEC
}

SEC("tc")
int redirect(struct __sk_buff *ctx) {
  TC_POLICY_PRE_SEC
  int ifindex = PARAM.ifindex;
  bpf_redirect(ifindex, 0);
  TC_ACTOR_POST_SEC
}
