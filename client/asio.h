// AsioDatabase: the library's calls for Boost.Asio completion tokens (use_awaitable, use_future,
// deferred, callbacks ...). A header of its own: the library itself does not need Asio.
//
//   quorate::client::AsioDatabase db(*database, io.get_executor());
//   CommitResult result = co_await db.AsyncTransact(closure, {}, asio::use_awaitable);
//
// Closures are coroutines of the library (Task<Status>) and run on its thread. The operation
// completes on the handler's associated executor (else on the one given here), never inside its
// initiation, and counts as work of that executor meanwhile.
//
// Signature of what completes with a CommitResult: void(std::exception_ptr, CommitResult). The
// exception is what the closure threw, and nothing else; errors of the database are in the result.
//
// Per-operation cancellation, `terminal` and `partial`: as TransactOptions::stop. The operation
// completes with CANCELLED (nothing was committed), UNKNOWN_OUTCOME (a commit was under way), or
// with its result if that came first.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "client/database.h"

namespace quorate::client {

namespace asio_internal {

namespace asio = boost::asio;

// A handler between its initiation and its completion.
template <class Handler>
class Operation : public std::enable_shared_from_this<Operation<Handler>> {
 public:
  using Executor = asio::associated_executor_t<Handler, asio::any_io_executor>;

  Operation(Handler handler, const asio::any_io_executor& executor)
      : handler_(std::move(handler)),
        executor_(asio::get_associated_executor(handler_, executor)),
        work_(executor_) {}

  // A token that is stopped when the handler's cancellation slot says so, or `outer` is.
  std::stop_token Listen(const std::stop_token& outer) {
    auto slot = asio::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) {
      slot.assign([stop = stop_](asio::cancellation_type type) mutable {
        const auto ours = asio::cancellation_type::terminal | asio::cancellation_type::partial;
        if ((type & ours) != asio::cancellation_type::none) stop.request_stop();
      });
    } else if (!outer.stop_possible()) {
      return {};
    }
    if (outer.stop_possible()) {
      outer_.emplace(outer, [stop = stop_]() mutable { stop.request_stop(); });
    }
    return stop_.get_token();
  }

  // On any thread: the handler is called on its executor.
  template <class... Args>
  void Complete(Args... args) {
    asio::post(executor_, [self = this->shared_from_this(), ... args = std::move(args)]() mutable {
      auto slot = asio::get_associated_cancellation_slot(self->handler_);
      if (slot.is_connected()) slot.clear();
      Handler handler = std::move(self->handler_);
      self->work_.reset();
      self.reset();
      std::move(handler)(std::move(args)...);
    });
  }

 private:
  Handler handler_;
  Executor executor_;
  asio::executor_work_guard<Executor> work_;
  std::stop_source stop_;
  std::optional<std::stop_callback<std::function<void()>>> outer_;
};

}  // namespace asio_internal

class AsioDatabase {
 public:
  using Executor = boost::asio::any_io_executor;
  using executor_type = Executor;
  using Committed = void(std::exception_ptr, CommitResult);
  using Value = Result<std::optional<std::string>>;

  // `database` outlives it and its operations. `executor`: for handlers that name none.
  AsioDatabase(Database& database, Executor executor)
      : database_(&database), executor_(std::move(executor)) {}
  executor_type get_executor() const { return executor_; }

  template <class Token>
  auto AsyncTransact(Database::Closure closure, TransactOptions options, Token&& token) {
    return Initiate<Committed>(
        [](Database& db, auto... all) { db.TransactAsync(std::move(all)...); },
        std::forward<Token>(token), std::move(options), std::move(closure));
  }
  template <class Token>
  auto AsyncSnapshot(Database::Closure closure, TransactOptions options, Token&& token) {
    return Initiate<Committed>(
        [](Database& db, auto... all) { db.SnapshotAsync(std::move(all)...); },
        std::forward<Token>(token), std::move(options), std::move(closure));
  }
  template <class Token>
  auto AsyncPut(std::string key, std::string value, TransactOptions options, Token&& token) {
    return Initiate<Committed>([](Database& db, auto... all) { db.PutAsync(std::move(all)...); },
                               std::forward<Token>(token), std::move(options), std::move(key),
                               std::move(value));
  }
  template <class Token>
  auto AsyncDelete(std::string key, TransactOptions options, Token&& token) {
    return Initiate<Committed>([](Database& db, auto... all) { db.DeleteAsync(std::move(all)...); },
                               std::forward<Token>(token), std::move(options), std::move(key));
  }
  template <class Token>
  auto AsyncGet(std::string key, TransactOptions options, Token&& token) {
    return Initiate<void(Value)>([](Database& db, auto... all) { db.GetAsync(std::move(all)...); },
                                 std::forward<Token>(token), std::move(options), std::move(key));
  }
  template <class Token>
  auto AsyncOutcome(TxnHandle txn, TransactOptions options, Token&& token) {
    return Initiate<void(Result<Outcome>)>(
        [](Database& db, auto... all) { db.OutcomeAsync(std::move(all)...); },
        std::forward<Token>(token), std::move(options), std::move(txn));
  }

 private:
  // `call`: of the database's, with `of_call`, the options and what is called with the result.
  template <class Signature, class Call, class Token, class... Args>
  auto Initiate(Call call, Token&& token, TransactOptions options, Args... of_call) {
    return boost::asio::async_initiate<Token, Signature>(
        [database = database_, executor = executor_, call](auto handler, TransactOptions all,
                                                           Args... args) {
          using Handler = std::decay_t<decltype(handler)>;
          auto operation =
              std::make_shared<asio_internal::Operation<Handler>>(std::move(handler), executor);
          all.stop = operation->Listen(all.stop);
          call(*database, std::move(args)..., std::move(all), [operation](auto result) {
            if constexpr (std::is_same_v<decltype(result), CommitResult>) {
              std::exception_ptr exception = std::exchange(result.exception, nullptr);
              operation->Complete(std::move(exception), std::move(result));
            } else {
              operation->Complete(std::move(result));
            }
          });
        },
        token, std::move(options), std::move(of_call)...);
  }

  Database* database_;
  Executor executor_;
};

}  // namespace quorate::client
