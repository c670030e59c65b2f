/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Selectors and actors in C, as members of a linked chain: each is a program of its own that takes over at XDP_POLICY_PRE_SEC
 * or TC_POLICY_PRE_SEC and goes on to the next at the matching POST_SEC.
 *
 *   #include "emptcp.h"
 *
 *   struct emptcp_parameters { PARAMETER(struct mac_t, mac); };
 *
 *   SEC("tc")
 *   int mac_modify(struct __sk_buff *ctx) {
 *     TC_POLICY_PRE_SEC
 *     struct ethhdr *eth = get_ethhdr(ctx);
 *     modify_mac(ctx, eth, PARAM.mac);
 *     TC_ACTOR_POST_SEC
 *   }
 *
 * clang -O2 -g -target bpf -I include -c mac_modify.c -o mac_modify.bpf.o, and in TypeScript
 * foreign({ kind: "actor", file: "mac_modify.bpf.o", program: "mac_modify", params: { mac } }).
 *
 * What the chain has for a program is an external symbol here, which emptcp resolves when it loads the object file. A member
 * must leave the headers where they are: those behind it do not look for them again. Fields that the TCP checksum covers are
 * written by set_field16 and set_field32, which account for the change.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;

#ifndef __BPF_HELPERS__
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)
    BPF_FUNC_map_update_elem;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;
static __u64 (*bpf_ktime_get_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
#endif

char emptcp_license[] SEC("license") = "GPL";

/* What passes from hop to hop, one record per CPU. */
struct emptcp_context {
  u32 step;
  u32 ip_offset;
  /* From the IP header to the TCP header. */
  u32 ip_length;
  u32 tcp_length;
  /* By the IP header; 0 when it says none. */
  u32 total_length;
  u32 is_v4;
  u32 verdict;
  /* For loops: see emptcp_credit. */
  volatile u32 scratch;
  /* New words of the segment less old ones. */
  s64 checksum_difference;
  u32 injection;
  u32 redirect;
  u32 mirror;
  /* Which copy of the parameters is in force for this packet. */
  u32 parameters;
};

struct emptcp_step {
  u8 program;
  u8 yes;
  u8 no;
  u8 parameter_type;
  u32 parameters;
  u32 counters;
  u32 unused;
};

/* Resolved by emptcp: maps, the steps of the chain, this step's parameters, and as addresses, offsets of counters. */
extern char emptcp_context_map, emptcp_counters_map, emptcp_programs_map;
extern struct emptcp_step emptcp_steps[256];
extern char emptcp_counter, emptcp_lost;

/* A parameter, in the order of `params`; all are 8 bytes apart. */
#define PARAMETER(type, name) type name __attribute__((aligned(8)))
extern char emptcp_parameters, emptcp_parameters_stride;
#define PARAM                                                                                                  \
  (*(const struct emptcp_parameters *)(&emptcp_parameters +                                                    \
                                       (emptcp->parameters & 63) * (unsigned long)&emptcp_parameters_stride))

/* An Ethernet address as parameters of type `mac` keep it: a number, its first byte the highest of 48 bits. */
struct mac_t {
  u64 number;
};

#define EMPTCP_INLINE static inline __attribute__((always_inline, unused))

EMPTCP_INLINE void emptcp_count(unsigned long offset) {
  u32 zero = 0;
  char *counters = bpf_map_lookup_elem(&emptcp_counters_map, &zero);
  if (counters) *(u64 *)(counters + offset) += 1;
}

#define EMPTCP_TAIL_CALL(index)                                                                                \
  case index:                                                                                                  \
    asm volatile("r1 = %[context]\n\tr2 = %[map]\n\tr3 = %[program]\n\tcall 12"                              \
                 :                                                                                             \
                 : [context] "r"(ctx), [map] "r"(&emptcp_programs_map), [program] "i"(index)                   \
                 : "r0", "r1", "r2", "r3", "r4", "r5", "memory");                                              \
    break;
static long (*emptcp_tail_call)(void *ctx, void *map, u32 index) = (void *)BPF_FUNC_tail_call;

/* A tail call to a constant index is a direct jump, where one to a variable index may need a retpoline. */
EMPTCP_INLINE void emptcp_call(void *ctx, u32 program) {
  switch (program) {
    EMPTCP_TAIL_CALL(0)
    EMPTCP_TAIL_CALL(1)
    EMPTCP_TAIL_CALL(2)
    EMPTCP_TAIL_CALL(3)
    EMPTCP_TAIL_CALL(4)
    EMPTCP_TAIL_CALL(5)
    EMPTCP_TAIL_CALL(6)
    EMPTCP_TAIL_CALL(7)
    EMPTCP_TAIL_CALL(8)
    EMPTCP_TAIL_CALL(9)
    default:
      emptcp_tail_call(ctx, &emptcp_programs_map, program);
  }
}

EMPTCP_INLINE void emptcp_go_on(void *ctx, struct emptcp_context *context, u32 step) {
  if (step == 0) return;
  context->step = step;
  emptcp_call(ctx, emptcp_steps[step & 255].program);
  emptcp_count((unsigned long)&emptcp_lost);
  emptcp_call(ctx, 0);
}

#define EMPTCP_PRE_SEC(pass)                                                                                   \
  u32 emptcp_zero = 0;                                                                                         \
  struct emptcp_context *emptcp = bpf_map_lookup_elem(&emptcp_context_map, &emptcp_zero);                      \
  if (!emptcp) return (pass);
#define EMPTCP_ACTOR_POST_SEC(pass)                                                                            \
  emptcp_count((unsigned long)&emptcp_counter);                                                                \
  emptcp_go_on(ctx, emptcp, emptcp_steps[emptcp->step & 255].yes);                                             \
  return (pass);
#define EMPTCP_SELECTOR_POST_SEC(matched, pass)                                                                \
  if (matched) {                                                                                               \
    emptcp_count((unsigned long)&emptcp_counter);                                                              \
    emptcp_go_on(ctx, emptcp, emptcp_steps[emptcp->step & 255].yes);                                           \
  } else                                                                                                       \
    emptcp_go_on(ctx, emptcp, emptcp_steps[emptcp->step & 255].no);                                            \
  return (pass);

/* TCX_NEXT: programs behind this chain run too. */
#define EMPTCP_TC_PASS (-1)

#define XDP_POLICY_PRE_SEC EMPTCP_PRE_SEC(XDP_PASS)
#define XDP_ACTOR_POST_SEC EMPTCP_ACTOR_POST_SEC(XDP_PASS)
#define XDP_SELECTOR_POST_SEC(matched) EMPTCP_SELECTOR_POST_SEC(matched, XDP_PASS)
#define TC_POLICY_PRE_SEC EMPTCP_PRE_SEC(EMPTCP_TC_PASS)
#define TC_ACTOR_POST_SEC EMPTCP_ACTOR_POST_SEC(EMPTCP_TC_PASS)
#define TC_SELECTOR_POST_SEC(matched) EMPTCP_SELECTOR_POST_SEC(matched, EMPTCP_TC_PASS)

/* Like everything that a chain decides, these take effect at its end. */
#define XDP_POLICY_DROP emptcp->verdict = XDP_DROP
#define TC_POLICY_DROP emptcp->verdict = 2
#define bpf_redirect(ifindex, flags) (emptcp->redirect = (ifindex))

/* Headers, or a null pointer where the packet does not have them whole. `ctx` is an xdp_md or an __sk_buff. */
#define get_ethhdr(ctx) ((struct ethhdr *)EMPTCP_AT(ctx, 0, sizeof(struct ethhdr)))
#define get_iphdr(ctx) emptcp_iphdr(EMPTCP_PACKET(ctx))
#define get_ipv6hdr(ctx) emptcp_ipv6hdr(EMPTCP_PACKET(ctx))
#define get_tcphdr(ctx) emptcp_tcphdr(EMPTCP_PACKET(ctx))
/* The paper's name. */
#define get_ethdr get_ethhdr

#define EMPTCP_PACKET(ctx) emptcp, (void *)(long)(ctx)->data, (void *)(long)(ctx)->data_end
#define EMPTCP_AT(ctx, offset, size) emptcp_at((void *)(long)(ctx)->data, (void *)(long)(ctx)->data_end, offset, size)

EMPTCP_INLINE void *emptcp_at(void *data, void *end, u64 offset, u64 size) {
  /* No header lies further back; the verifier wants to see that, and a checked pointer in one register. */
  asm volatile("" : "+r"(offset));
  void *found = data + (offset & 8191);
  asm volatile("" : "+r"(found));
  __builtin_assume(found != 0);
  return found + size > end ? (void *)0 : found;
}

EMPTCP_INLINE struct iphdr *emptcp_iphdr(const struct emptcp_context *context, void *data, void *end) {
  return context->is_v4 ? emptcp_at(data, end, context->ip_offset, sizeof(struct iphdr)) : 0;
}

EMPTCP_INLINE struct ipv6hdr *emptcp_ipv6hdr(const struct emptcp_context *context, void *data, void *end) {
  return context->is_v4 ? 0 : emptcp_at(data, end, context->ip_offset, sizeof(struct ipv6hdr));
}

EMPTCP_INLINE struct tcphdr *emptcp_tcphdr(const struct emptcp_context *context, void *data, void *end) {
  return emptcp_at(data, end, (u64)context->ip_offset + context->ip_length, sizeof(struct tcphdr));
}

/* Writes the address that the frame goes to. */
#define modify_mac(ctx, eth, mac) emptcp_modify_mac(eth, mac)
EMPTCP_INLINE void emptcp_modify_mac(struct ethhdr *eth, struct mac_t mac) {
  if (!eth) return;
  for (int i = 0; i < ETH_ALEN; i++) eth->h_dest[i] = mac.number >> (40 - 8 * i);
}

/* Write a field, in network order, that stands at an even offset of the TCP segment or is an address. */
#define set_field16(field, value) emptcp_set16(emptcp, (u16 *)(field), value)
#define set_field32(field, value) emptcp_set32(emptcp, (u16 *)(field), value)
EMPTCP_INLINE void emptcp_set16(struct emptcp_context *context, u16 *field, u16 value) {
  context->checksum_difference += (s64)value - (s64)*field;
  *field = value;
}
EMPTCP_INLINE void emptcp_set32(struct emptcp_context *context, u16 *field, u32 value) {
  emptcp_set16(context, field, value);
  emptcp_set16(context, field + 1, value >> 16);
}

/* A subflow: addresses (IPv4 ones mapped into IPv6) and ports, as they stand in the packet. */
struct credit_key {
  u32 source[4];
  u32 destination[4];
  u16 source_port;
  u16 destination_port;
};

/* Fills `*key` from the packet; 0 where it has no whole headers. */
#define get_credit_key_xdp(key, ctx) emptcp_credit_key(key, EMPTCP_PACKET(ctx))
EMPTCP_INLINE int emptcp_credit_key(struct credit_key *key, const struct emptcp_context *context, void *data,
                                    void *end) {
  __builtin_memset(key, 0, sizeof(*key));
  if (context->is_v4) {
    struct iphdr *v4 = emptcp_iphdr(context, data, end);
    if (!v4) return 0;
    key->source[2] = key->destination[2] = 0xffff0000;
    key->source[3] = v4->saddr;
    key->destination[3] = v4->daddr;
  } else {
    struct ipv6hdr *v6 = emptcp_ipv6hdr(context, data, end);
    if (!v6) return 0;
    __builtin_memcpy(key->source, &v6->saddr, 16);
    __builtin_memcpy(key->destination, &v6->daddr, 16);
  }
  struct tcphdr *tcp = emptcp_tcphdr(context, data, end);
  if (!tcp) return 0;
  key->source_port = tcp->source;
  key->destination_port = tcp->dest;
  return 1;
}

/* Credit travels in an experimental TCP option (RFC 6994): kind 254, length 8, this identifier, 32 bits of credit. */
enum { CREDIT_OPTION_KIND = 254, CREDIT_OPTION_LENGTH = 8, CREDIT_OPTION_ID = 0xc3ed };

/* The credit that the packet brings along; 0 without the option. */
#define parse_credit(ctx) emptcp_credit(EMPTCP_PACKET(ctx))
EMPTCP_INLINE s64 emptcp_credit(struct emptcp_context *context, void *data, void *end) {
  u64 start = (u64)context->ip_offset + context->ip_length;
  context->scratch = sizeof(struct tcphdr);
  for (int turn = 0; turn < 40; turn++) {
    /* Kept in memory of which the verifier knows nothing: it would follow the rest once for each offset that can be. */
    u64 at = context->scratch;
    if (at >= context->tcp_length) return 0;
    u8 *option = emptcp_at(data, end, start + at, 1);
    if (!option || *option == 0) return 0;
    u64 length = 1;
    if (*option != 1) {
      option = emptcp_at(data, end, start + at, 2);
      if (!option || option[1] < 2) return 0;
      length = option[1];
    }
    if (*option == CREDIT_OPTION_KIND && length == CREDIT_OPTION_LENGTH) {
      option = emptcp_at(data, end, start + at, CREDIT_OPTION_LENGTH);
      if (!option || option[2] != CREDIT_OPTION_ID >> 8 || option[3] != (CREDIT_OPTION_ID & 255)) return 0;
      return (u32)option[4] << 24 | option[5] << 16 | option[6] << 8 | option[7];
    }
    context->scratch = at + length;
  }
  return 0;
}
