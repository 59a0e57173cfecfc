// Bank: accounts in quorate. The part of a service that talks to the database.
#pragma once

#include <quorate/database.h>

#include <cstdint>
#include <memory>
#include <string>

class Bank {
 public:
  explicit Bank(std::unique_ptr<quorate::client::Database> database)
      : database_(std::move(database)) {}

  // Accounts 0..n-1 with this balance each. Opening them again changes nothing.
  quorate::Status Open(int64_t n, int64_t balance);
  // FAILED_PRECONDITION if `from` has too little. Whoever gets UNKNOWN_OUTCOME and cannot live with
  // it gives the payment an id of its own and writes that in the same transaction.
  quorate::Status Transfer(int64_t from, int64_t to, int64_t amount);
  quorate::Result<int64_t> Balance(int64_t account);
  // Of all accounts at one moment; `accounts`, if given, is set to their number.
  quorate::Result<int64_t> Total(int64_t* accounts);

 private:
  std::unique_ptr<quorate::client::Database> database_;
};
