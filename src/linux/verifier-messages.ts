/**
 * What the kernel's verifier says (kernel/bpf/verifier.c), in the words of someone who writes a policy. The first entry
 * whose pattern is found in a refusal explains it, so particular ones stand before general ones. `$1`, `$2` stand for the
 * groups of the pattern.
 */
export interface VerifierMessage {
  readonly pattern: RegExp;
  readonly explanation: string;
  readonly advice: string;
}

export const verifierMessages: readonly VerifierMessage[] = [
  {
    pattern: /invalid access to packet|offset is outside of the packet/,
    explanation: "it touches bytes of the packet that no length check covers on every path to here",
    advice:
      "Compare the packet's length with the end of the access first, in the same function and with the same offset",
  },
  {
    pattern: /cannot write into packet/,
    explanation: "it writes to the packet where this kind of program may only read it",
    advice: "Let the policy write in a program on XDP or tc",
  },
  {
    pattern: /invalid mem access 'map_value_or_null'/,
    explanation: "it uses the result of a map look-up that may have found nothing",
    advice: "Test the result against undefined before it is used",
  },
  {
    pattern: /invalid mem access '(\w+)_or_null'|possibly NULL pointer passed|R\d+ pointer arithmetic on (\w+)_or_null/,
    explanation: "it uses something that may be absent without testing it",
    advice: "Test it against undefined (or null) before it is used",
  },
  {
    pattern: /invalid access to map value, value_size=(\d+) off=(-?\d+) size=(\d+)/,
    explanation: "it touches $3 bytes at offset $2 of a map value of $1 bytes",
    advice: "Keep the index below the number of elements with a comparison the verifier can see just before the access",
  },
  {
    pattern: /invalid access to map value pointer|direct value access on this map type/,
    explanation: "it takes the address of a map's entry, but only arrays of a single entry have one",
    advice: "Keep such state in an array of one entry, or look the entry up",
  },
  {
    pattern: /invalid access to (?:map (?:value|key)|memory)/,
    explanation: "it touches memory outside of the value it looked up",
    advice: "Keep the index below the number of elements with a comparison just before the access",
  },
  {
    pattern: /(?:min|max) value is outside of the (?:allowed|map value|array|\w+ ?\w*) ?(?:memory )?range/,
    explanation: "an index may lie outside of the memory it selects from",
    advice:
      "Compare the index with the number of elements just before the access, or mask it with a power of two less one",
  },
  {
    pattern: /(?:min|max) value is negative|unbounded memory access|R\d+ unbounded memory/,
    explanation: "a length or index has no limit the verifier knows, or may be negative",
    advice: "Use an unsigned type and compare it with a constant limit before it is used",
  },
  {
    pattern: /invalid zero-sized read/,
    explanation: "a length passed to the kernel may be zero",
    advice: "Leave out the call when the length is zero",
  },
  {
    pattern: /math between (\w+) pointer and (?:register|\d+)/,
    explanation: "it adds a number without known limits to the address of $1 memory",
    advice: "Limit the number first: compare it with a constant, or mask it with a power of two less one",
  },
  {
    pattern: /value -?\d+ makes (\w+) pointer be out of bounds|makes (\w+) pointer be out of bounds/,
    explanation: "an offset is so large that the address could lie anywhere",
    advice: "Limit the offset with a comparison before it is added",
  },
  {
    pattern: /infinite loop detected/,
    explanation: "a loop does not change anything from one round to the next, so it never ends",
    advice: "Count the rounds and end the loop at a constant number of them",
  },
  {
    pattern: /back-edge from insn \d+ to \d+/,
    explanation: "it jumps backwards, and this kernel or this user may not run loops",
    advice:
      "Use a loop with a constant number of rounds, which can be unrolled, or load it with CAP_BPF on Linux 5.3 or newer",
  },
  {
    pattern: /BPF program is too large\. Processed (\d+) insn/,
    explanation: "the verifier gave up after following $1 instructions: too many paths, or a loop that is too long",
    advice: "Lower the number of rounds of loops, nest fewer of them, and branch less inside of them",
  },
  {
    pattern: /[Tt]he sequence of (\d+) jumps is too complex|too many subprogs|loop is too complex/,
    explanation: "there are more branches than the verifier follows",
    advice: "Branch less, or split the policy in two members of a chain",
  },
  {
    pattern:
      /combined stack size of (\d+) calls is (\d+)|stack depth (\d+) exceeds|call stack of \d+ frames is too deep/,
    explanation: "it needs more than the 512 bytes of stack a program has",
    advice: "Keep large structures and arrays in a map",
  },
  {
    pattern: /invalid (?:indirect )?read from stack|invalid variable-offset (?:indirect )?read from stack/,
    explanation: "it reads local memory that was not written on every path to here",
    advice: "Give every local structure and array its whole initial value",
  },
  {
    pattern: /invalid (?:variable-offset )?write to stack|invalid stack type|attempt to corrupt spilled pointer/,
    explanation: "it writes outside of its 512 bytes of stack, or over a saved address",
    advice: "Keep the index of local arrays below their length, and large ones in a map",
  },
  {
    pattern: /R0 !read_ok/,
    explanation: "it ends on a path without having chosen a result",
    advice: "Return a verdict on every path",
  },
  {
    pattern: /R(\d+) !read_ok/,
    explanation: "it uses a value that was not set on every path to here, or that a call has discarded",
    advice: "Set the variable where it is declared, and read packet fields again after a call that changes the packet",
  },
  {
    pattern: /At program exit the register R0 has (.+)/,
    explanation: "its result may be one that this kind of program must not return ($1)",
    advice: "Return one of the verdicts of its hook, by name",
  },
  {
    pattern: /no write support to (\w+) at off \d+/,
    explanation: "it writes a field of the kernel's $1 that congestion control may only read",
    advice: "Write the window, the threshold or the pacing rate, or a record of the policy's own state",
  },
  {
    pattern: /write access at off \d+ with size (\d+) beyond the member/,
    explanation: "it writes $1 bytes, more than the field of the kernel's socket has",
    advice: "Write the field with its own size",
  },
  {
    pattern: /calling kernel function (\S+) is not allowed/,
    explanation: "it calls $1, which this kernel does not offer to programs of this kind",
    advice: "Use another base, or a newer kernel; `emptcp doctor` names what is missing",
  },
  {
    pattern: /attach to unsupported member (\S+) of struct (\S+)/,
    explanation: "$1 of $2 is an operation that programs may not do",
    advice: "Leave the operation to the kernel",
  },
  {
    pattern: /arg#\d+ is untrusted_ptr|R\d+ must be referenced or trusted|R\d+ type=untrusted_ptr/,
    explanation: "it hands on a socket that it may only look at",
    advice: "Call functions and write with the socket that the operation got; other sockets can only be read",
  },
  {
    pattern: /arg#\d+ pointer type (?:STRUCT|UNION|UNKNOWN) (\w+) must point/,
    explanation: "it hands something else to a kernel function that wants a $1",
    advice: "Pass what the operation got as its argument",
  },
  {
    pattern: /unknown func (\S+)|invalid func (\S+)/,
    explanation: "it calls a kernel function that this kind of program, or this kernel, does not have ($1)",
    advice: "Use the intrinsic on another hook, or a newer kernel; `emptcp doctor` names what is missing",
  },
  {
    pattern: /(?:program of this type cannot use|helper call is not allowed|cannot use) (?:helper )?(\S*)/,
    explanation: "it calls a kernel function that is not allowed here",
    advice: "Use the intrinsic in a policy for another hook",
  },
  {
    pattern: /cannot call GPL-restricted function/,
    explanation: "it calls a kernel function that only programs under the GPL may call",
    advice: "Let the program's licence be GPL",
  },
  {
    pattern: /cannot pass map_type (\d+) into func (\S+)/,
    explanation: "the kernel function $2 does not work on a map of this type",
    advice: "Use a map type the function is made for",
  },
  {
    pattern: /dereference of modified ctx ptr|disallowed modified ctx ptr|negative offset ctx ptr/,
    explanation: "it computes an address from the context instead of reading a field of it",
    advice: "Read fields of the context by their names only",
  },
  {
    pattern: /invalid bpf_context access off=(\d+) size=(\d+)/,
    explanation:
      "it touches $2 bytes at offset $1 of its context, where nothing may be read or written in this kind of program",
    advice: "Use only the fields that the hook's context declares, with their own sizes",
  },
  {
    pattern: /div(?:ision)? by zero|div by zero/,
    explanation: "it divides by the constant zero",
    advice: "Divide by something else",
  },
  {
    pattern: /invalid shift/,
    explanation: "it shifts by as many bits as the value has, or more",
    advice: "Shift by less than the width of the value",
  },
  {
    pattern: /leaks addr|leak pointer into/,
    explanation: "a kernel address would become visible: returned, stored in a map or sent out",
    advice: "Return and store values, not views or other references",
  },
  {
    pattern: /Unreleased reference/,
    explanation: "something that was reserved or acquired is not given back on every path",
    advice: "Submit or discard every reserved record, and release every socket, before each return",
  },
  {
    pattern: /function calls are not allowed while holding a lock|calls are not allowed while/,
    explanation: "it calls a function while it holds a lock",
    advice: "Call it before the lock is taken or after it is given back",
  },
  {
    pattern: /(?:bpf_spin_unlock is missing|BPF_EXIT instruction .*(?:lock|preempt)|inside bpf_spin_lock-ed region)/,
    explanation: "it ends while it holds a lock",
    advice: "Give the lock back on every path",
  },
  {
    pattern: /bpf_spin_lock|spin_lock/,
    explanation: "a lock is used in a way the kernel does not allow",
    advice: "Keep one lock in the map's value, take it once, and give it back in the same function",
  },
  {
    pattern: /invalid mem access '(?:scalar|inv)'/,
    explanation: "it uses a number as if it were an address",
    advice: "Read views of the packet again after a call that changes the packet, and keep no address in a map",
  },
  {
    pattern: /invalid mem access '(\w+)'/,
    explanation: "it reads or writes through a $1, which is not memory a program may touch that way",
    advice: "Read and write through views, map values and local variables only",
  },
  {
    pattern:
      /pointer arithmetic (?:on|with) \S+ (?:operator )?.*prohibited|pointer arithmetic with \S+ operator|subtraction from stack pointer/,
    explanation: "it computes with an address in a way that is not allowed",
    advice: "Only add limited numbers to views; multiply, mask and shift offsets before they are added",
  },
  {
    pattern: /pointer comparison prohibited/,
    explanation: "it compares addresses that have nothing to do with each other",
    advice: "Compare values, or an address of the packet with the packet's end",
  },
  {
    pattern: /frame pointer is read only/,
    explanation: "it changes the register that points at the stack",
    advice: "Copy the register before computing with it",
  },
  {
    pattern: /write into map forbidden|read from map forbidden|only read (?:from|is) /,
    explanation: "it writes to memory that is read-only for programs",
    advice: "Write to a map that programs may change",
  },
  {
    pattern: /access beyond struct (\S+)|cannot access ptr member|type '?(\S+)'? is not a struct/,
    explanation: "it reads a field that this kernel's structure does not have",
    advice: "Name the field so that its offset comes from the running kernel's BTF",
  },
  {
    pattern: /same insn cannot be used with different pointers/,
    explanation: "one access may go to different kinds of memory, depending on the path",
    advice: "Make the access in each branch instead of after they meet",
  },
  {
    pattern: /misaligned (\w+) access/,
    explanation: "it touches $1 memory at an address that is not a multiple of the size",
    advice: "Align the field, or read it byte by byte",
  },
  {
    pattern: /R\d+ type=(\S+) expected=(.+)/,
    explanation: "it passes a $1 to a kernel function that wants $2",
    advice: "Pass the map, view or variable that the intrinsic's type asks for",
  },
  {
    pattern: /tail_calls? (?:are|is) not allowed|tail_call abusing map/,
    explanation: "it calls the next program from a place where that is not allowed",
    advice: "Call the next program from the main function, without a lock and with nothing reserved",
  },
  {
    pattern: /unreachable insn (\d+)/,
    explanation: "a part of the program can never run",
    advice: "Remove the code after the return or the jump",
  },
  {
    pattern:
      /jump out of range|jump into the middle|last insn is not an exit or jmp|invalid or corrupted|unknown opcode/,
    explanation: "the instructions do not form a program",
    advice: "Build the program again; if it came from the compiler as it is, report it with the raw log",
  },
  {
    pattern: /attach_btf_id (\d+) is not a function|is not supported|doesn't have .* arg/,
    explanation: "the kernel does not have the place this program attaches to",
    advice: "Use a newer kernel; `emptcp doctor` names what is missing",
  },
];
