package serial

// The registers, by offset from the port's base (PC16550D, table I). The first
// two are the divisor latch while lcrDLAB is set.
const (
	regData = 0 // RBR to read, THR to write
	regIER  = 1
	regIIR  = 2 // to read; to write it is FCR
	regLCR  = 3
	regMCR  = 4
	regLSR  = 5
	regMSR  = 6
	regSCR  = 7
)

const (
	ierRDI  = 1 << 0 // received data available
	ierTHRI = 1 << 1 // transmitter holding register empty
	ierMask = 0x0f

	iirNone  = 0x01
	iirTHRE  = 0x02
	iirRDI   = 0x04
	iirFIFOs = 0xc0 // what makes a 16550A of a 16450

	fcrEnable  = 1 << 0
	fcrClearRX = 1 << 1

	lcrDLAB = 1 << 7

	mcrDTR  = 1 << 0
	mcrRTS  = 1 << 1
	mcrOut1 = 1 << 2
	mcrOut2 = 1 << 3
	mcrLoop = 1 << 4
	mcrMask = 0x1f

	lsrDR   = 1 << 0
	lsrTHRE = 1 << 5
	lsrTEMT = 1 << 6

	msrCTS = 1 << 4
	msrDSR = 1 << 5
	msrRI  = 1 << 6
	msrDCD = 1 << 7
)

// Read is the guest's read of register reg, an offset from 0 to 7. Others read
// as all ones, as an empty bus does.
func (u *UART) Read(reg uint8) byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lcr&lcrDLAB != 0 && reg <= regIER {
		return u.divisor[reg]
	}
	switch reg {
	case regData:
		return u.readData()
	case regIER:
		return u.ier
	case regIIR:
		return u.readIIR()
	case regLCR:
		return u.lcr
	case regMCR:
		return u.mcr
	case regLSR:
		if len(u.rx) > 0 {
			return lsrTHRE | lsrTEMT | lsrDR
		}
		return lsrTHRE | lsrTEMT
	case regMSR:
		return u.modemStatus()
	case regSCR:
		return u.scr
	}
	return 0xff
}

// Write is the guest's write of v to register reg, an offset from 0 to 7. Writes
// to others and to registers that are for reading only are ignored.
func (u *UART) Write(reg uint8, v byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lcr&lcrDLAB != 0 && reg <= regIER {
		u.divisor[reg] = v
		return
	}
	switch reg {
	case regData:
		u.send(v)
	case regIER:
		u.writeIER(v)
	case regIIR:
		enable := v&fcrEnable != 0
		if v&fcrClearRX != 0 || enable != u.fifos {
			u.rx = u.rx[:0]
		}
		u.fifos = enable
	case regLCR:
		u.lcr = v
	case regMCR:
		u.mcr = v & mcrMask
	case regSCR:
		u.scr = v
	}
}

func (u *UART) readData() byte {
	if len(u.rx) == 0 {
		return 0
	}
	b := u.rx[0]
	u.rx = append(u.rx[:0], u.rx[1:]...)
	return b
}

// writeIER raises an edge for what the guest now wants to hear of and what is so
// already. Linux counts on it: to start sending it sets THRI, and waits.
func (u *UART) writeIER(v byte) {
	rising := v &^ u.ier
	u.ier = v & ierMask
	u.flush()
	u.thre = u.ier&ierTHRI != 0 && (u.thre || rising&ierTHRI != 0)
	if rising&ierTHRI != 0 || rising&ierRDI != 0 && len(u.rx) > 0 {
		u.irq()
	}
}

// readIIR names the most urgent pending interrupt. To have read that the
// transmitter is empty is to have acknowledged it.
func (u *UART) readIIR() byte {
	id := u.pending()
	if id == iirTHRE {
		u.thre = false
	}
	if u.fifos {
		id |= iirFIFOs
	}
	return id
}

func (u *UART) pending() byte {
	switch {
	case u.ier&ierRDI != 0 && len(u.rx) > 0:
		return iirRDI
	case u.thre:
		return iirTHRE
	}
	return iirNone
}

// modemStatus says that somebody is at the other end, or in loopback what the
// guest itself signals. Changes are not reported: there are no others.
func (u *UART) modemStatus() byte {
	if u.mcr&mcrLoop == 0 {
		return msrDCD | msrDSR | msrCTS
	}
	var msr byte
	for _, wire := range []struct{ from, to byte }{
		{mcrRTS, msrCTS}, {mcrDTR, msrDSR}, {mcrOut1, msrRI}, {mcrOut2, msrDCD},
	} {
		if u.mcr&wire.from != 0 {
			msr |= wire.to
		}
	}
	return msr
}
