// The two ends of a bidirectional gRPC stream on a GrpcLoop: one read is always outstanding, one
// write at a time, and an end. Everything happens on the loop's thread.
//
// A stream owns itself from its first operation until gRPC has given back the last one; `alive` is
// let go of then, so that whoever made the stream can wait for that. Its user is told what comes
// until one of them ends it.
#pragma once

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/check.h"
#include "client/route/grpc_loop.h"
#include "client/route/grpc_socket.h"

namespace quorate::client {

template <class In>
class GrpcStreamUser {
 public:
  // In each of these the user may write or drop the stream.
  virtual void OnMessage(In message) = 0;
  // It is open, or the last write has left: another may start.
  virtual void OnWritable() = 0;
  // Nothing more comes of it, in either direction. The stream must not be used any more.
  virtual void OnEnd(const grpc::Status& status) = 0;

 protected:
  ~GrpcStreamUser() = default;
};

// What both ends share. `Rpc`: gRPC's reader-writer of that end.
template <class Rpc, class In, class Out>
class GrpcStream {
 public:
  GrpcStream(const GrpcStream&) = delete;

  bool writable() const { return open_ && !writing_ && !broken_; }
  // The other end of its connection, as gRPC names it.
  std::string peer() const { return Peer(); }
  // Only while writable.
  void Write(const Out& message) {
    CHECK(writable());
    writing_ = true;
    Begin();
    rpc_->Write(message, &write_);  // serialised here
    if (cork_) cork_->Written();
  }
  // For one whose connection carries nothing else, before it opens.
  void HoldUpdates(Executor& executor) { executor_ = &executor; }

 protected:
  explicit GrpcStream(std::shared_ptr<void> alive) : alive_(std::move(alive)) {}
  virtual ~GrpcStream() = default;
  // Called once, when reading has failed: gRPC wants the call to be finished then.
  virtual void OnReadsEnded() = 0;
  virtual void OnWriteEnded() {}
  virtual std::string Peer() const = 0;

  // Around every operation; its owner's last End deletes the stream.
  void Begin() { ++operations_; }
  void End() {
    if (--operations_ == 0) delete this;
  }
  void StartRead() {
    Begin();
    rpc_->Read(&in_, &read_);
  }
  void Opened() {
    open_ = true;
    StartRead();
    if (user_ != nullptr) user_->OnWritable();
  }
  GrpcStreamUser<In>* TakeUser() { return std::exchange(user_, nullptr); }

  Rpc* rpc_ = nullptr;
  GrpcStreamUser<In>* user_ = nullptr;
  bool open_ = false;
  bool writing_ = false;
  bool broken_ = false;  // in either direction: no write starts any more

 private:
  void OnRead(bool ok) {
    if (ok) {
      if (executor_ != nullptr && !cork_) cork_.emplace(*executor_, Peer());
      if (cork_) cork_->Received(in_.ByteSizeLong());
      if (user_ != nullptr) user_->OnMessage(std::exchange(in_, In()));
      StartRead();
    } else {
      broken_ = true;
      OnReadsEnded();
    }
    End();
  }
  void OnWritten(bool ok) {
    writing_ = false;
    if (cork_) cork_->Written();
    // After a failed write the failed read follows and ends the stream.
    broken_ |= !ok;
    OnWriteEnded();
    if (user_ != nullptr && writable()) user_->OnWritable();
    End();
  }

  const std::shared_ptr<void> alive_;
  int operations_ = 0;
  Executor* executor_ = nullptr;    // if updates are to be held
  std::optional<SocketCork> cork_;  // once the other end is known
  In in_;
  GrpcOperation<GrpcStream, &GrpcStream::OnRead> read_{this};
  GrpcOperation<GrpcStream, &GrpcStream::OnWritten> write_{this};
};

template <class Out, class In>
class ClientStream final : public GrpcStream<grpc::ClientAsyncReaderWriter<Out, In>, In, Out> {
 public:
  explicit ClientStream(std::shared_ptr<void> alive) : ClientStream::GrpcStream(std::move(alive)) {}

  // `prepare`: a stub's PrepareAsync of the method, given a context and a queue.
  template <class Prepare>
  void Open(Prepare prepare, GrpcLoop& loop, GrpcStreamUser<In>* user) {
    this->user_ = user;
    holder_ = prepare(&context_, loop.queue());
    this->rpc_ = holder_.get();
    this->Begin();
    holder_->StartCall(&start_);
  }
  // Cancels it; the user hears nothing more.
  void Drop() {
    this->TakeUser();
    context_.TryCancel();
  }

 private:
  void OnStarted(bool ok) {
    ok ? this->Opened() : OnReadsEnded();
    this->End();
  }
  std::string Peer() const override { return context_.peer(); }
  void OnReadsEnded() override {
    this->Begin();
    holder_->Finish(&status_, &finish_);
  }
  void OnFinished(bool) {
    if (auto* user = this->TakeUser()) user->OnEnd(status_);
    this->End();
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<Out, In>> holder_;
  grpc::Status status_;
  GrpcOperation<ClientStream, &ClientStream::OnStarted> start_{this};
  GrpcOperation<ClientStream, &ClientStream::OnFinished> finish_{this};
};

template <class In, class Out>
class ServerStream final : public GrpcStream<grpc::ServerAsyncReaderWriter<Out, In>, In, Out> {
 public:
  // Tells who uses the stream that a call opened; gone without a word when the server shuts down.
  using Accepted = std::function<GrpcStreamUser<In>*(ServerStream*)>;

  explicit ServerStream(std::shared_ptr<void> alive) : ServerStream::GrpcStream(std::move(alive)) {
    this->rpc_ = &writer_;
  }

  // `request`: a service's Request of the method, given a context, the stream and a tag.
  template <class Request>
  void Accept(Request request, Accepted accepted) {
    accepted_ = std::move(accepted);
    this->Begin();
    request(&context_, &writer_, &accept_);
  }
  // Ends it; the user hears nothing more.
  void Drop(grpc::Status status) {
    this->TakeUser();
    this->broken_ = true;
    // What the client does not read would hold the end back for good.
    if (this->writing_) context_.TryCancel();
    Finish(std::move(status));
  }

 private:
  void OnAccepted(bool ok) {
    if (ok) {
      this->user_ = accepted_(this);
      this->Opened();
    }
    this->End();
  }
  std::string Peer() const override { return context_.peer(); }
  void OnReadsEnded() override {
    if (auto* user = this->TakeUser()) user->OnEnd(grpc::Status::OK);
    Finish(grpc::Status::OK);
  }
  void OnWriteEnded() override {
    if (ending_) Finish(*ending_);
  }
  // Behind the write under way.
  void Finish(grpc::Status status) {
    if (!ending_) ending_ = std::move(status);
    if (this->writing_ || std::exchange(finished_, true)) return;
    this->Begin();
    writer_.Finish(*ending_, &finish_);
  }
  void OnFinished(bool) { this->End(); }

  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<Out, In> writer_{&context_};
  Accepted accepted_;
  std::optional<grpc::Status> ending_;
  bool finished_ = false;
  GrpcOperation<ServerStream, &ServerStream::OnAccepted> accept_{this};
  GrpcOperation<ServerStream, &ServerStream::OnFinished> finish_{this};
};

}  // namespace quorate::client
