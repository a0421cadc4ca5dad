#include "textflag.h"

#define SYS_exit 93
#define SYS_futex 98
#define SYS_clock_gettime 113
#define SYS_clone 220
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

// System calls leave all registers but R0 alone.

// func spin(word *uint32, least uint32, deadline int64, now *unix.Timespec) uint32
TEXT ·spin(SB), NOSPLIT, $0-36
	MOVD  word+0(FP), R4
	MOVWU least+8(FP), R5
	MOVD  deadline+16(FP), R6
	MOVD  now+24(FP), R1
	MOVD  $1000000000, R7
again:
	MOVD $256, R9 // looks at the word for one at the clock
look:
	LDARW (R4), R10
	CMPW  R5, R10
	BHS   done
	YIELD
	SUBS  $1, R9, R9
	BNE   look
	MOVD  $SYS_clock_gettime, R8
	MOVD  $CLOCK_MONOTONIC, R0
	SVC
	MOVD  (R1), R0
	MUL   R7, R0, R0
	MOVD  8(R1), R2
	ADD   R2, R0, R0
	CMP   R6, R0
	BLT   again
	LDARW (R4), R10
done:
	MOVW R10, ret+32(FP)
	RET

// func startHolder(at *holdGate) (tid int32)
TEXT ·startHolder(SB), NOSPLIT, $0-12
	MOVD at+0(FP), R19
	MOVD $THREAD, R0
	MOVD ZR, R1 // the caller's stack, which the thread does not use
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD $SYS_clone, R8
	SVC
	CBZ  R0, wait
	MOVW R0, tid+8(FP)
	RET

wait:
	ADD   $state, R19, R5
	LDARW (R5), R2
	CBNZW R2, through
	MOVD  R5, R0
	MOVD  $FUTEX_WAIT_PRIVATE, R1
	MOVD  ZR, R3 // for as long as it takes
	MOVD  $SYS_futex, R8
	SVC
	B     wait
through:
	CMPW $gateOpen, R2
	BNE  leave
	ADD  $arrived, R19, R5
arrive:
	LDAXRW (R5), R6
	ADDW   $1, R6
	STLXRW R6, (R5), R7
	CBNZW  R7, arrive
	ADD    $release, R19, R5
	MOVD   $TURNS, R9
turn:
	LDARW (R5), R6
	CBNZW R6, leave
	YIELD
	SUBS  $1, R9, R9
	BNE   turn
leave:
	ADD $left, R19, R5
count:
	LDAXRW (R5), R6
	ADDW   $1, R6
	STLXRW R6, (R5), R7
	CBNZW  R7, count
	MOVD   ZR, R0
	MOVD   $SYS_exit, R8
	SVC
	BRK // there is no return
