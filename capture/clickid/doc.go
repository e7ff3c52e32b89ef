// Package clickid mints and verifies click IDs: the opaque names under which
// clicks travel to an advertiser and come back in postbacks.
//
// A click ID is one AES-256 block, written as 26 characters of lower-case
// base 32 (0-9, a-v), most significant bit first. Before it is enciphered, the
// block holds, from its most significant bit on:
//
//	32 bits  zero
//	 4 bits  version, 1
//	12 bits  epoch: which store or node minted the ID
//	40 bits  block
//	 8 bits  slot
//	32 bits  Unix second of the minting
//
// The zeros and the version are redundancy: they are checked after decryption,
// and nothing else authenticates the ID. This is encode-then-encipher (Bellare
// and Rogaway, "Encode-then-encipher encryption: how to exploit nonces or
// redundancy in plaintexts for efficient cryptography", Asiacrypt 2000): under
// a cipher that is a strong pseudorandom permutation of the whole message,
// redundancy gives authenticity, and the absence of repeated messages gives
// privacy. A click ID is one block of the cipher, so AES by itself is that
// permutation. An ID thus shows neither how many clicks a site has nor when or
// in which order they came, and changing any of its bits gives an unrelated
// block.
//
// # Forgery
//
// A string of valid form (26 characters of the alphabet, the last of them with
// its two spare bits zero) that was not minted passes [Codec.Decode] with a
// probability of 2^-36 for each key of the Codec, whatever genuine IDs the
// guesser has seen. In practice: one guess in 69 thousand million passes, so
// somebody who sends 10,000 guesses a second waits 80 days on average for
// one to pass. What has passed then names an arbitrary epoch, block, slot and
// second. A store that also compares these with what it holds leaves a guess a
// chance of n in 2^128, again for each key, to hit one of its n clicks: 2^-98
// with a thousand million clicks. A mistyped or otherwise altered ID is a guess like any other.
//
// A click ID is no secret: whoever has seen it can send it again. It says that
// a click was minted here, not that its bearer may report conversions.
package clickid
