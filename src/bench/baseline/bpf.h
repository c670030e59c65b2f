/* The little of the kernel's interface that the baselines need, so that clang alone compiles them. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* include/uapi/linux/bpf.h */
enum { MAP_HASH = 1, MAP_PER_CPU_ARRAY = 6, MAP_LRU_HASH = 9 };
enum { NO_EXIST = 1 };
enum { XDP_DROP = 1, XDP_PASS = 2, TCX_NEXT = -1, TCX_DROP = 2 };

struct xdp_md {
  u32 data;
  u32 data_end;
};

struct sk_buff_md {
  u32 len;
  u32 unused[18];
  u32 data;
  u32 data_end;
};

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*ktime_get_ns)(void) = (void *)5;
static long (*l4_csum_replace)(void *skb, u32 offset, u64 from, u64 to, u64 flags) = (void *)11;
static long (*skb_pull_data)(void *skb, u32 len) = (void *)39;

/* A map is a symbol of this type in the section "maps". */
struct map_definition {
  u32 type;
  u32 key_size;
  u32 value_size;
  u32 max_entries;
};

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define BARRIER(x) asm volatile("" : "+r"(x))

INLINE u16 swap16(u16 x) { return __builtin_bswap16(x); }
INLINE u32 swap32(u32 x) { return __builtin_bswap32(x); }

#ifdef HOOK_XDP
typedef struct xdp_md context;
#define HOOK "xdp"
#define PROCEED XDP_PASS
#define DROP XDP_DROP
#else
typedef struct sk_buff_md context;
#define HOOK "tc"
#define PROCEED TCX_NEXT
#define DROP TCX_DROP
#endif
