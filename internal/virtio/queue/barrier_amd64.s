#include "textflag.h"

// func barrier()
TEXT ·barrier(SB), NOSPLIT, $8-0
	LOCK
	ADDL $0, 0(SP)
	RET
