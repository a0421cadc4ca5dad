#include "textflag.h"

#define SYS_clone 56
#define SYS_exit 60
#define SYS_futex 202
#define SYS_clock_gettime 228
#define CLOCK_MONOTONIC 1
#define FUTEX_WAIT_PRIVATE 128

// A thread of this process: CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD
// and CLONE_SYSVSEM (clone(2)).
#define THREAD 0x50f00

// Offsets in the type holdGate, and its states.
#define state 0
#define arrived 4
#define release 8
#define left 12
#define gateShut 0
#define gateOpen 1

#define TURNS (1 << 32)

// System calls leave all registers but AX, CX and R11 alone.

// func spin(word *uint32, least uint32, deadline int64, now *unix.Timespec) uint32
TEXT ·spin(SB), NOSPLIT, $0-36
	MOVQ word+0(FP), R8
	MOVL least+8(FP), R9
	MOVQ deadline+16(FP), R12
	MOVQ now+24(FP), SI
again:
	MOVL $256, DX // looks at the word for one at the clock
look:
	MOVL (R8), AX
	CMPL AX, R9
	JCC  done
	PAUSE
	DECL DX
	JNZ  look
	MOVL $SYS_clock_gettime, AX
	MOVL $CLOCK_MONOTONIC, DI
	SYSCALL
	MOVQ  (SI), AX
	IMULQ $1000000000, AX
	ADDQ  8(SI), AX
	CMPQ  AX, R12
	JLT   again
	MOVL  (R8), AX
done:
	MOVL AX, ret+32(FP)
	RET

// func startHolder(at *holdGate) (tid int32)
TEXT ·startHolder(SB), NOSPLIT, $0-12
	MOVQ at+0(FP), R12
	MOVL $THREAD, DI
	XORL SI, SI // the caller's stack, which the thread does not use
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVL $SYS_clone, AX
	SYSCALL
	TESTQ AX, AX
	JZ    wait
	MOVL  AX, tid+8(FP)
	RET

wait:
	MOVL state(R12), DX
	CMPL DX, $gateShut
	JNE  through
	LEAQ state(R12), DI
	MOVL $FUTEX_WAIT_PRIVATE, SI
	XORL R10, R10 // for as long as it takes
	MOVL $SYS_futex, AX
	SYSCALL
	JMP  wait
through:
	CMPL DX, $gateOpen
	JNE  leave
	LOCK
	INCL arrived(R12)
	MOVQ $TURNS, BX
turn:
	MOVL release(R12), AX
	TESTL AX, AX
	JNZ  leave
	PAUSE
	DECQ BX
	JNZ  turn
leave:
	LOCK
	INCL left(R12)
	XORL DI, DI
	MOVL $SYS_exit, AX
	SYSCALL
	INT  $3 // there is no return
