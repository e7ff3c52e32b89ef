// Package attribution holds the rules of conversion tracking: which conversion
// a postback belongs to, what it changes, what an amount of money is, which
// time counts, and how clicks and conversions add up to a report.
//
// Everything here is a pure function of its arguments. Nothing does I/O, reads
// a clock or starts a goroutine; time comes in as a value. No type is safe for
// use by several goroutines at once unless it is only read.
package attribution
